#include "xapi/rpc/connection.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/writes_now.hpp"
#include "xapi/rpc/deadline.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t read_size = std::size_t{16} * 1024;
constexpr std::size_t first_read_size = std::size_t{2} * 1024;  // most calls are shorter
constexpr std::size_t write_size = std::size_t{64} * 1024;      // what write_stall_time is for
constexpr std::size_t linger_bytes_max = std::size_t{1024} * 1024;

/// Counts one for as long as it lives.
class Counted {
  public:
    explicit Counted(std::uint64_t& count) : count_(count) { ++count_; }

    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

    ~Counted() { --count_; }

  private:
    std::uint64_t& count_;
};

/// Bytes read ahead, then the stream itself.
class AheadStream final : public Stream {
  public:
    AheadStream(Stream& stream, std::string& ahead) : stream_(stream), ahead_(ahead) {}

    Task<std::size_t> read_some(std::span<char> buffer) override {
        if (ahead_.empty()) co_return co_await stream_.read_some(buffer);
        const std::size_t count = std::min(buffer.size(), ahead_.size());
        std::copy_n(ahead_.begin(), count, buffer.begin());
        ahead_.erase(0, count);
        co_return count;
    }

    Task<void> write(std::string_view bytes) override { return stream_.write(bytes); }

    void shutdown_write() override { stream_.shutdown_write(); }

    void close() override { stream_.close(); }

  private:
    Stream& stream_;
    std::string& ahead_;
};

}  // namespace

class Connection {
  public:
    Connection(Loop& loop, Stream& stream, Peer peer, const Router& router, Limits& limits,
               HttpCounts& counts)
        : loop_(loop),
          stream_(stream),
          peer_(std::move(peer)),
          router_(router),
          limits_(limits),
          counts_(counts),
          deadline_(loop, stream, limits),
          ahead_stream_(stream, ahead_),
          writes_now_(dynamic_cast<WritesNow*>(&stream)) {}

    Task<void> run();

  private:
    friend class Exchange;

    /// The next head, empty at the end of the stream.
    Task<std::string> read_head();
    /// Whether the connection goes on.
    Task<bool> serve(std::string head);
    Task<std::optional<Response>> handle(Exchange& exchange);
    Task<void> write(std::string_view bytes);
    Task<void> linger();

    Loop& loop_;
    Stream& stream_;
    Peer peer_;
    const Router& router_;
    Limits& limits_;
    HttpCounts& counts_;
    Deadline deadline_;
    std::string ahead_;
    AheadStream ahead_stream_;
    WritesNow* writes_now_;  // null: it cannot
};

Task<void> Connection::run() {
    for (;;) {
        std::string head = co_await read_head();
        if (head.empty()) break;
        if (!co_await serve(std::move(head))) break;
    }
    co_await linger();
}

Task<std::string> Connection::read_head() {
    constexpr std::string_view end = "\r\n\r\n";
    std::size_t scanned = 0;
    const std::size_t bytes_max = limits_.max(Limit::head_bytes);
    deadline_.set(ahead_.empty() ? Limit::idle_time : Limit::head_time);
    for (;;) {
        const std::size_t at = ahead_.find(end, scanned > end.size() ? scanned - end.size() : 0);
        if (at != std::string::npos && at + end.size() <= bytes_max) {
            std::string head = ahead_.substr(0, at + end.size());
            ahead_.erase(0, head.size());
            deadline_.clear();
            co_return head;
        }
        if (ahead_.size() > bytes_max || at != std::string::npos) {
            limits_.exceeded(Limit::head_bytes);
            // The text that clients of this API see for it.
            const Response refusal = internal_error("Invalid_argument(\"Unix.read\")");
            co_await write(refusal.head.text() + refusal.body);
            co_return "";
        }
        scanned = ahead_.size();
        const bool was_idle = ahead_.empty();
        // Straight to where it is looked at; a connection that is idle keeps little.
        const std::size_t before = ahead_.size();
        ahead_.resize(before + (was_idle ? first_read_size : read_size));
        const std::size_t count = co_await stream_.read_some(std::span(ahead_).subspan(before));
        ahead_.resize(before + count);
        if (count == 0) co_return "";
        if (was_idle) deadline_.set(Limit::head_time);
    }
}

Task<bool> Connection::serve(std::string head) {
    std::optional<HttpRequest> request = parse_head(head);
    if (!request) co_return false;
    request->peer = peer_;
    if (counts_.draining) request->keep_alive = false;
    Exchange exchange(*this, std::move(*request), std::move(head));
    exchange.body_left_ = exchange.request().content_length.value_or(0);
    exchange.endless_body_ = !exchange.request().content_length;
    ++counts_.requests;
    const std::optional<Response> late = co_await handle(exchange);
    if (late && !exchange.answered()) co_await exchange.respond(*late);
    if (!exchange.answered() || exchange.close_ || !exchange.request().keep_alive) co_return false;
    if (exchange.request().chunked) co_return false;
    if (exchange.body_left_ > limits_.max(Limit::drain_bytes)) {
        limits_.exceeded(Limit::drain_bytes);
        co_return false;
    }
    if (exchange.body_left_ > 0 || exchange.endless_body_) co_await exchange.skip_body();
    co_return exchange.body_left_ == 0;
}

/// Runs the handler; what it threw becomes the page that is still to be written.
Task<std::optional<Response>> Connection::handle(Exchange& exchange) {
    const HttpRequest& request = exchange.request();
    const Router::Route* route = router_.find(request.method, request.path);
    if (route == nullptr) co_return no_route(request);
    ++route->requests;
    const Counted busy(counts_.busy);
    std::exception_ptr failure;
    try {
        co_await route->handler(exchange);
        co_return std::nullopt;
    } catch (const HttpError& error) {
        co_return error.response();
    } catch (const boost::system::system_error&) {
        throw;  // the connection broke or was cut: nobody to tell
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    const ApiError error = as_api_error(failure);
    log::error("http_handler_failed", {{"path", request.path}, {"error", error.what()}});
    co_return internal_error(error.what());
}

Task<void> Connection::write(std::string_view bytes) {
    if (writes_now_ != nullptr && bytes.size() <= write_size)
        bytes.remove_prefix(writes_now_->write_now(bytes));
    while (!bytes.empty()) {
        deadline_.set(Limit::write_stall_time);
        co_await stream_.write(bytes.substr(0, write_size));
        bytes.remove_prefix(std::min(bytes.size(), write_size));
    }
    deadline_.clear();
}

Task<void> Connection::linger() {
    // Closing with unread bytes would reset the connection and may destroy the answer on its way.
    stream_.shutdown_write();
    deadline_.set(Limit::linger_time);
    std::array<char, read_size> buffer;
    std::size_t total = 0;
    while (total < linger_bytes_max) {
        const std::size_t count = co_await stream_.read_some(buffer);
        if (count == 0) break;
        total += count;
    }
    stream_.close();
}

Task<std::string> Exchange::body() {
    if (!request_.content_length)
        throw HttpError(internal_error("Failure(\"We require a content-length: HTTP header\")"));
    Limits& limits = connection_.limits_;
    const Limit size = request_.peer.trusted ? Limit::trusted_body_bytes : Limit::body_bytes;
    if (body_left_ > limits.max(size)) {
        limits.exceeded(size);
        throw HttpError(internal_error("Http_svr.Client_requested_size_over_limit"));
    }
    co_await invite_body();
    const Time began = connection_.loop_.now();
    std::string out(static_cast<std::size_t>(body_left_), '\0');
    std::size_t have = 0;
    while (have < out.size()) {
        expect_body(began, have);
        const std::size_t count = co_await read_some_body(std::span(out).subspan(have));
        if (count == 0) throw boost::system::system_error(asio::error::connection_reset);
        have += count;
    }
    connection_.deadline_.clear();
    co_return out;
}

std::optional<std::string> Exchange::body_at_once() {
    std::string& ahead = connection_.ahead_;
    const Limit size = request_.peer.trusted ? Limit::trusted_body_bytes : Limit::body_bytes;
    if (!request_.content_length || body_left_ > ahead.size() ||
        body_left_ > connection_.limits_.max(size))
        return std::nullopt;
    const auto length = static_cast<std::size_t>(body_left_);
    body_left_ = 0;
    if (length == ahead.size()) return std::exchange(ahead, {});
    std::string body = ahead.substr(0, length);
    ahead.erase(0, length);
    return body;
}

/// A body must come at body_rate, give or take body_start_time: a peer that sends a byte now and
/// then does not hold a connection for long.
void Exchange::expect_body(Time began, std::uint64_t read) {
    const Limits& limits = connection_.limits_;
    const auto earned = std::chrono::milliseconds(static_cast<std::int64_t>(
        read * 1000 / std::max<std::uint64_t>(limits.max(Limit::body_rate), 1)));
    connection_.deadline_.set_at(began + limits.time(Limit::body_start_time) + earned,
                                 Limit::body_rate);
}

Task<std::size_t> Exchange::read_body(std::span<char> buffer) {
    co_await invite_body();
    connection_.deadline_.set(Limit::stream_stall_time);
    const std::size_t count = co_await read_some_body(buffer);
    connection_.deadline_.clear();
    co_return count;
}

Task<std::size_t> Exchange::read_some_body(std::span<char> buffer) {
    if (!endless_body_) {
        if (body_left_ == 0) co_return 0;
        buffer = buffer.first(
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body_left_)));
    }
    const std::size_t count = co_await connection_.ahead_stream_.read_some(buffer);
    if (!endless_body_) body_left_ -= count;
    co_return count;
}

/// A peer that waits for leave to send its body gets it, unless the body is coming already.
Task<void> Exchange::invite_body() {
    if (invited_ || !request_.expect_continue || !connection_.ahead_.empty() || answered_)
        co_return;
    invited_ = true;
    co_await connection_.write("HTTP/1.1 100 Continue\r\n\r\n");
}

Task<void> Exchange::skip_body() {
    // Who was never invited does not send: the next bytes are the next request.
    if (request_.expect_continue && !invited_ && connection_.ahead_.empty()) {
        close_ = body_left_ > 0;
        co_return;
    }
    const Time began = connection_.loop_.now();
    const std::uint64_t size = body_left_;
    std::array<char, read_size> buffer;
    while (body_left_ > 0) {
        expect_body(began, size - body_left_);
        if (co_await read_some_body(buffer) == 0) co_return;
    }
    connection_.deadline_.clear();
}

std::size_t Exchange::answer_now(std::string_view answer, bool close) {
    answered_ = true;
    close_ = close_ || close;
    WritesNow* const stream = connection_.writes_now_;
    return stream == nullptr ? 0 : stream->write_now(answer);
}

Task<void> Exchange::respond(Response response) {
    answered_ = true;
    close_ = close_ || response.close;
    std::string bytes = response.head.text();
    bytes += response.body;
    co_await connection_.write(bytes);
}

Task<void> Exchange::begin(ResponseHead head, bool close) {
    co_await begin_text(head.text(), close);
}

Task<void> Exchange::begin_text(std::string head, bool close) {
    answered_ = true;
    close_ = close_ || close;
    co_await connection_.write(head);
}

Task<void> Exchange::write(std::string_view bytes) {
    return connection_.write(bytes);
}

Stream& Exchange::take_over() {
    answered_ = true;
    close_ = true;
    connection_.deadline_.clear();
    return connection_.ahead_stream_;
}

void Router::add(std::string method, std::string prefix, Handler handler) {
    std::erase_if(routes_, [&](const Route& route) {
        return route.method == method && route.prefix == prefix;
    });
    const auto at = std::ranges::find_if(
        routes_, [&](const Route& route) { return route.prefix.size() < prefix.size(); });
    routes_.insert(at, Route{std::move(method), std::move(prefix), std::move(handler)});
}

const Router::Route* Router::find(std::string_view method, std::string_view path) const {
    // Longest prefixes come first.
    for (const Route& route : routes_)
        if (route.method == method && path.starts_with(route.prefix)) return &route;
    return nullptr;
}

Response no_route(const HttpRequest& request) {
    if (request.method == "GET") return not_found(request.path);
    constexpr std::array<std::string_view, 4> known = {"PUT", "POST", "CONNECT", "OPTIONS"};
    if (std::ranges::find(known, request.method) != known.end()) return forbidden();
    return method_not_implemented(request.method);
}

Task<void> serve_connection(Loop& loop, std::unique_ptr<Stream> stream, Peer peer,
                            const Router& router, Limits& limits, HttpCounts& counts) {
    const Counted open(counts.connections);
    Connection connection(loop, *stream, std::move(peer), router, limits, counts);
    try {
        co_await connection.run();
    } catch (const boost::system::system_error&) {
        // Resets, timeouts and shutdown are how connections end.
    }
    stream->close();
}

}  // namespace basalt::server
