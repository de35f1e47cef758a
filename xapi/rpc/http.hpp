#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace basalt::server {

/// Names and values, decoded, in the order of the request.
using Parameters = std::vector<std::pair<std::string, std::string>>;

/// The first value of that name; null when absent. Names are case sensitive.
[[nodiscard]] const std::string* find(const Parameters& parameters, std::string_view name);

/// Who is at the other end.
struct Peer {
    std::string address;  ///< numeric; empty on a unix socket
    bool unix_socket = false;
    bool trusted = false;  ///< root on the host's unix socket
    bool tls = false;
    std::string pool_host{};  ///< uuid of a host of our pool, proved by its certificate
    std::string through{};    ///< uuid of the member that passes this on; empty: came to us
    bool certified = false;   ///< its certificate is one that stands for a password
};

struct HttpRequest {
    std::string method;
    std::string target;  ///< as sent
    std::string path;    ///< percent-decoded, without the query
    Parameters query;
    Parameters cookies;
    Parameters headers;  ///< values trimmed
    std::optional<std::uint64_t> content_length;
    bool chunked = false;  ///< a Transfer-Encoding was announced; nobody here reads it
    bool version_10 = false;
    bool keep_alive = true;
    bool expect_continue = false;
    Peer peer;

    /// A header's first value, name in any case; null when absent.
    [[nodiscard]] const std::string* header(std::string_view name) const;
};

/// Reads the head of a request (all up to the empty line, inclusive). nullopt: this is not HTTP.
/// An HTTP version that does not exist counts as 1.1.
[[nodiscard]] std::optional<HttpRequest> parse_head(std::string_view head);

/// Whether a browser sent it for a page of another site: its Origin (scheme, host, port) is not the
/// host that was asked. Programs send no Origin. http and https at their own ports count as one.
[[nodiscard]] bool from_foreign_page(const HttpRequest& request);

/// `%41` and, in queries, `+`. A broken escape stays as it is.
[[nodiscard]] std::string percent_decoded(std::string_view text, bool plus_is_space);
/// Splits `a=b&c` (or `a=b; c`) and decodes both sides.
[[nodiscard]] Parameters parse_parameters(std::string_view text, std::string_view separators);

struct Credentials {
    std::string user;
    std::string password;
};

/// The user and password of an `Authorization: Basic` header's value.
[[nodiscard]] std::optional<Credentials> parse_basic(std::string_view authorization);

/// What goes out before a body. Names are written as given, in order: clients and captures know
/// both.
struct ResponseHead {
    std::string status = "200 OK";
    Parameters headers;
    bool version_10 = false;

    [[nodiscard]] std::string text() const;
};

struct Response {
    ResponseHead head;
    std::string body;
    bool close = false;
};

/// 200 with a body of `type`, in the order of headers that API clients get; `extra` comes last.
[[nodiscard]] Response ok_response(const HttpRequest& request, std::string type, std::string body,
                                   Parameters extra = {});
/// The head of the same answer, for a body of `length` bytes that is written in pieces.
[[nodiscard]] ResponseHead ok_head(const HttpRequest& request, std::string type,
                                   std::uint64_t length, Parameters extra = {});
/// The same head as text, appended, without the making of a Response: for each small answer of the
/// API.
void append_ok_head(std::string& out, const HttpRequest& request, std::string_view type,
                    std::uint64_t length, std::string_view extra_lines);
/// 302 to an absolute location.
[[nodiscard]] Response redirect(std::string location);

[[nodiscard]] Response bad_request(std::string_view reason);             // 400
[[nodiscard]] Response unauthorised(std::string_view realm);             // 401
[[nodiscard]] Response forbidden();                                      // 403
[[nodiscard]] Response not_found(std::string_view path);                 // 404
[[nodiscard]] Response internal_error(std::string_view additional);      // 500
[[nodiscard]] Response method_not_implemented(std::string_view method);  // 501
[[nodiscard]] Response service_unavailable();                            // 503

/// Escapes `& < > " '` as the pages of this server do.
[[nodiscard]] std::string html_escaped(std::string_view text);

/// Ends a request from anywhere in a handler: the connection writes `response` and closes.
class HttpError : public std::exception {
  public:
    explicit HttpError(Response response) : response_(std::move(response)) {}

    [[nodiscard]] const Response& response() const { return response_; }

    [[nodiscard]] const char* what() const noexcept override {
        return response_.head.status.c_str();
    }

  private:
    Response response_;
};

}  // namespace basalt::server
