#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop.hpp"
#include "base/stream.hpp"
#include "xapi/core/limits.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::server {

class Connection;

/// One request and its answer, as a handler sees them. Answer once: `respond`, or `begin` and
/// `write`, or take the connection over.
class Exchange {
  public:
    Exchange(Connection& connection, HttpRequest request, std::string head)
        : connection_(connection), request_(std::move(request)), head_(std::move(head)) {}

    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    [[nodiscard]] const HttpRequest& request() const { return request_; }

    /// The request's head as it was sent, with the empty line at its end.
    [[nodiscard]] const std::string& head() const { return head_; }

    /// The whole body, which must come at body_rate at least. Throws HttpError: no Content-Length,
    /// or more than the peer's limit.
    Task<std::string> body();
    /// Some of the body, 0 at its end (or when the peer went away). No limit in size, and in time
    /// only stream_stall_time. Without a Content-Length it lasts until the peer ends the stream.
    Task<std::size_t> read_body(std::span<char> buffer);

    /// Bytes of the body not read yet, for those with a Content-Length.
    [[nodiscard]] std::uint64_t body_left() const { return body_left_; }

    /// The body, when it has come whole with its head; else nothing has happened, and `body` gets
    /// it.
    std::optional<std::string> body_at_once();

    Task<void> respond(Response response);
    /// Begins a whole answer, head and body, and returns how many of its bytes the peer took at
    /// once; the rest is for `write`.
    std::size_t answer_now(std::string_view answer, bool close);
    /// The head of an answer whose body follows by `write`. Without a content-length header the
    /// connection must be closed (`close`) to end the body.
    Task<void> begin(ResponseHead head, bool close);
    /// The same for a head that somebody else wrote, with its empty line.
    Task<void> begin_text(std::string head, bool close);
    /// Waits until the peer took it: this is the back-pressure. The bytes must outlive the call.
    Task<void> write(std::string_view bytes);
    /// Raw bytes from here on, those read ahead first; no timeouts. Ends with the handler.
    Stream& take_over();

    [[nodiscard]] bool answered() const { return answered_; }

  private:
    friend class Connection;
    Task<void> invite_body();
    Task<void> skip_body();
    Task<std::size_t> read_some_body(std::span<char> buffer);
    void expect_body(Time began, std::uint64_t read);

    Connection& connection_;
    HttpRequest request_;
    std::string head_;
    std::uint64_t body_left_ = 0;
    bool endless_body_ = false;
    bool answered_ = false;
    bool close_ = false;
    bool invited_ = false;
};

using Handler = std::function<Task<void>(Exchange&)>;

/// Finds the handler of a request: the longest registered prefix of its path, per method.
class Router {
  public:
    struct Route {
        std::string method;
        std::string prefix;
        Handler handler;
        mutable std::uint64_t requests = 0;  ///< that have come so far
    };

    /// A later entry of the same method and prefix replaces the earlier one.
    void add(std::string method, std::string prefix, Handler handler);
    /// Null: nobody.
    [[nodiscard]] const Route* find(std::string_view method, std::string_view path) const;

    [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }

  private:
    std::vector<Route> routes_;
};

/// The page for a request that no route takes: GET 404, other known methods 403, the rest 501.
[[nodiscard]] Response no_route(const HttpRequest& request);

/// What a server counts; one for all connections of a listener set.
struct HttpCounts {
    std::uint64_t connections = 0;  ///< open now
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;  ///< over a limit
    std::uint64_t handshakes_failed = 0;
    std::uint64_t requests = 0;
    std::uint64_t busy = 0;  ///< requests under way
    bool draining = false;   ///< close each connection after its present answer
};

/// Serves requests until the peer or a limit ends the connection. `router`, `limits` and `counts`
/// outlive it. Throws only cancellation.
Task<void> serve_connection(Loop& loop, std::unique_ptr<Stream> stream, Peer peer,
                            const Router& router, Limits& limits, HttpCounts& counts);

}  // namespace basalt::server
