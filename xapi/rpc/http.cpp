#include "xapi/rpc/http.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>

namespace basalt::server {

namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

bool same_text(std::string_view a, std::string_view b) {
    return beast::iequals(a, b);
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

/// A site's name without `:80` or `:443`.
std::string_view without_usual_port(std::string_view site) {
    for (const std::string_view port : {":80", ":443"})
        if (site.ends_with(port)) return site.substr(0, site.size() - port.size());
    return site;
}

/// Whatever stands for the version in the first line becomes HTTP/1.1.
std::string with_known_version(std::string_view head) {
    std::string fixed(head);
    const std::size_t line_end = fixed.find("\r\n");
    const std::size_t version = fixed.rfind("HTTP/", line_end);
    if (line_end != std::string::npos && version != std::string::npos)
        fixed.replace(version, line_end - version, "HTTP/1.1");
    return fixed;
}

void take_header(HttpRequest& request, std::string_view name, std::string_view value) {
    request.headers.emplace_back(name, trimmed(value));
    if (same_text(name, "Cookie")) {
        for (auto& cookie : parse_parameters(value, ";&"))
            request.cookies.push_back(cookie);
    } else if (same_text(name, "Transfer-Encoding")) {
        request.chunked = true;
    } else if (same_text(name, "Expect")) {
        request.expect_continue = same_text(trimmed(value), "100-continue");
    }
}

/// Beast's parser, straight into our request.
class HeadParser final : public bhttp::basic_parser<true> {
  public:
    /// Whether the whole head was read.
    bool read(std::string_view head, beast::error_code& error) {
        header_limit(static_cast<std::uint32_t>(head.size() + 1));
        body_limit(boost::none);
        put(boost::asio::const_buffer(head.data(), head.size()), error);
        return !error && is_header_done();
    }

    HttpRequest take() {
        HttpRequest& request = request_;
        request.version_10 = version_ == 10;
        request.keep_alive = keep_alive();
        if (const auto length = content_length()) request.content_length = *length;
        const std::string_view target = request.target;
        const std::size_t mark = target.find('?');
        request.path = percent_decoded(target.substr(0, mark), false);
        if (mark != std::string_view::npos)
            request.query = parse_parameters(target.substr(mark + 1), "&;");
        return std::move(request_);
    }

  private:
    void on_request_impl(bhttp::verb /*verb*/, beast::string_view method, beast::string_view target,
                         int version, beast::error_code& /*error*/) override {
        request_.method = method;
        request_.target = target;
        version_ = version;
    }

    void on_field_impl(bhttp::field /*field*/, beast::string_view name, beast::string_view value,
                       beast::error_code& /*error*/) override {
        take_header(request_, name, value);
    }

    // No bodies and no answers come here.
    void on_response_impl(int, beast::string_view, int, beast::error_code&) override {}

    void on_header_impl(beast::error_code&) override {}

    void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}

    std::size_t on_body_impl(beast::string_view, beast::error_code&) override { return 0; }

    void on_chunk_header_impl(std::uint64_t, beast::string_view, beast::error_code&) override {}

    std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view, beast::error_code&) override {
        return 0;
    }

    void on_finish_impl(beast::error_code&) override {}

    HttpRequest request_;
    int version_ = 11;
};

std::string base64_decoded(std::string_view text) {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (const char c : text) {
        const std::size_t value = alphabet.find(c);
        if (value == std::string_view::npos) break;
        bits = (bits << 6) | static_cast<std::uint32_t>(value);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out += static_cast<char>((bits >> count) & 0xff);
        }
    }
    return out;
}

void append_line(std::string& out, std::string_view value) {
    if (value.find_first_of("\r\n") == std::string_view::npos) {
        out += value;
    } else {
        std::ranges::copy_if(value, std::back_inserter(out),
                             [](char c) { return c != '\r' && c != '\n'; });
    }
}

Response error_page(std::string status, std::string body, Parameters extra = {}) {
    Response response;
    response.head.status = std::move(status);
    response.head.headers = {{"content-length", std::to_string(body.size())},
                             {"content-type", "text/html"},
                             {"connection", "close"},
                             {"cache-control", "no-cache, no-store"}};
    for (auto& header : extra)
        response.head.headers.push_back(std::move(header));
    response.body = std::move(body);
    response.close = true;
    return response;
}

}  // namespace

const std::string* find(const Parameters& parameters, std::string_view name) {
    const auto at = std::ranges::find(parameters, name, &Parameters::value_type::first);
    return at == parameters.end() ? nullptr : &at->second;
}

const std::string* HttpRequest::header(std::string_view name) const {
    const auto at = std::ranges::find_if(
        headers, [name](const auto& header) { return same_text(header.first, name); });
    return at == headers.end() ? nullptr : &at->second;
}

std::optional<HttpRequest> parse_head(std::string_view head) {
    beast::error_code error;
    HeadParser parser;
    if (parser.read(head, error)) return parser.take();
    if (error != bhttp::error::bad_version) return std::nullopt;
    HeadParser lenient;
    if (lenient.read(with_known_version(head), error)) return lenient.take();
    return std::nullopt;
}

bool from_foreign_page(const HttpRequest& request) {
    const std::string* origin = request.header("Origin");
    if (origin == nullptr) return false;
    const std::string* host = request.header("Host");
    std::string_view site = *origin;
    const bool of_web = site.starts_with("http://") || site.starts_with("https://");
    if (!of_web || host == nullptr) return true;
    site.remove_prefix(site.find("//") + 2);
    return !same_text(without_usual_port(site), without_usual_port(*host));
}

std::string percent_decoded(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
            hex_digit(text[i + 2]) >= 0) {
            out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        } else if (text[i] == '+' && plus_is_space) {
            out += ' ';
        } else {
            out += text[i];
        }
    }
    return out;
}

Parameters parse_parameters(std::string_view text, std::string_view separators) {
    Parameters parameters;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(separators), text.size());
        const std::string_view part = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (part.empty()) continue;
        const std::size_t equals = part.find('=');
        const std::string_view value =
            equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1);
        parameters.emplace_back(percent_decoded(part.substr(0, equals), true),
                                percent_decoded(value, true));
    }
    return parameters;
}

std::optional<Credentials> parse_basic(std::string_view authorization) {
    constexpr std::string_view scheme = "Basic ";
    if (authorization.size() < scheme.size() ||
        !same_text(authorization.substr(0, scheme.size()), scheme))
        return std::nullopt;
    const std::string plain = base64_decoded(trimmed(authorization.substr(scheme.size())));
    const std::size_t colon = plain.find(':');
    if (colon == std::string::npos) return std::nullopt;
    return Credentials{plain.substr(0, colon), plain.substr(colon + 1)};
}

std::string ResponseHead::text() const {
    std::string out = version_10 ? "HTTP/1.0 " : "HTTP/1.1 ";
    out += status;
    out += "\r\n";
    for (const auto& [name, value] : headers) {
        out += name;
        out += ": ";
        // A value made of what a client sent must not start a header of its own.
        append_line(out, value);
        out += "\r\n";
    }
    out += "\r\n";
    return out;
}

ResponseHead ok_head(const HttpRequest& request, std::string type, std::uint64_t length,
                     Parameters extra) {
    ResponseHead head;
    head.version_10 = request.version_10;
    head.headers = {{"content-length", std::to_string(length)},
                    {"connection", request.keep_alive ? "keep-alive" : "close"},
                    {"cache-control", "no-cache, no-store"}};
    if (!type.empty()) head.headers.emplace_back("content-type", std::move(type));
    for (auto& header : extra)
        head.headers.push_back(std::move(header));
    return head;
}

void append_ok_head(std::string& out, const HttpRequest& request, std::string_view type,
                    std::uint64_t length, std::string_view extra_lines) {
    std::array<char, 24> digits{};
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), length).ptr;
    out += request.version_10 ? "HTTP/1.0 200 OK\r\ncontent-length: "
                              : "HTTP/1.1 200 OK\r\ncontent-length: ";
    out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
    out += request.keep_alive ? "\r\nconnection: keep-alive\r\n" : "\r\nconnection: close\r\n";
    out += "cache-control: no-cache, no-store\r\ncontent-type: ";
    out += type;
    out += "\r\n";
    out += extra_lines;
    out += "\r\n";
}

Response ok_response(const HttpRequest& request, std::string type, std::string body,
                     Parameters extra) {
    Response response;
    response.head = ok_head(request, std::move(type), body.size(), std::move(extra));
    response.body = std::move(body);
    response.close = !request.keep_alive;
    return response;
}

Response redirect(std::string location) {
    Response response;
    response.head.status = "302 Found";
    response.head.headers = {{"content-length", "0"},
                             {"connection", "close"},
                             {"cache-control", "no-cache, no-store"},
                             {"Location", std::move(location)}};
    response.close = true;
    return response;
}

Response bad_request(std::string_view reason) {
    return error_page("400 Bad Request", "<html><body><h1>HTTP 400 bad request</h1>" +
                                             html_escaped(reason) + "</body></html>");
}

Response unauthorised(std::string_view realm) {
    return error_page("401 Unauthorised",
                      "<html><body><h1>HTTP 401 unauthorised</h1>Please check your credentials "
                      "and retry.</body></html>",
                      {{"WWW-Authenticate", "Basic realm=\"" + std::string(realm) + "\""}});
}

Response forbidden() {
    return error_page("403 Forbidden",
                      "<html><body><h1>HTTP 403 forbidden</h1>Access to the requested resource is "
                      "forbidden.</body></html>");
}

Response not_found(std::string_view path) {
    Response response;
    response.body =
        "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\"> <html><head> <title>404 Not "
        "Found</title> </head><body> <h1>Not Found</h1> <p>The requested URL " +
        html_escaped(path) +
        " was not found on this server.</p> <hr><address>Xapi Server</address></body></html>";
    response.head.status = "404 Not Found";
    response.head.headers = {{"content-length", std::to_string(response.body.size())},
                             {"connection", "close"},
                             {"cache-control", "no-cache, no-store"}};
    response.close = true;
    return response;
}

Response internal_error(std::string_view additional) {
    return error_page(
        "500 Internal Error",
        "<html><body><h1>HTTP 500 internal server error</h1>An unexpected error occurred; please "
        "wait a while and try again. If the problem persists, please contact your support "
        "representative.<h1> Additional information </h1>" +
            html_escaped(additional) + "</body></html>");
}

Response method_not_implemented(std::string_view method) {
    return error_page("501 Method not implemented",
                      "<html><body><h1>HTTP 501 Method Not Implemented</h1><p>Unknown " +
                          html_escaped(method) + " not supported.<br /></p></body></html>");
}

Response service_unavailable() {
    return error_page("503 Service Unavailable",
                      "<html><body><h1>HTTP 503 service unavailable</h1>Somebody else is using "
                      "it; please try again later.</body></html>");
}

std::string html_escaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&apos;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace basalt::server
