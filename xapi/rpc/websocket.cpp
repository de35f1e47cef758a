#include "xapi/rpc/websocket.hpp"

// Beast's WebSocket, although a server needs little of RFC 6455: the rules of fragments, control
// frames between them, masking, UTF-8 of text and the closing handshake are where writing it anew
// goes wrong. It costs half a minute of compiling, so no other file includes it.
#include <algorithm>
#include <array>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "base/context.hpp"
#include "base/log.hpp"
#include "base/turn.hpp"
#include "base/wait.hpp"
#include "xapi/rpc/deadline.hpp"

namespace basalt::server {

namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using boost::system::system_error;

constexpr std::size_t piece_bytes = std::size_t{16} * 1024;
constexpr std::string_view subprotocol = "binary";

error_code code_of(const std::exception_ptr& failure) {
    if (!failure) return {};
    try {
        std::rethrow_exception(failure);
    } catch (const system_error& error) {
        return error.code();
    } catch (const std::exception&) {
        return asio::error::connection_aborted;
    }
}

Task<std::size_t> read_once(Stream& stream, asio::mutable_buffer buffer) {
    const std::size_t got =
        co_await stream.read_some({static_cast<char*>(buffer.data()), buffer.size()});
    if (got == 0) throw system_error(asio::error::eof);
    co_return got;
}

Task<std::size_t> write_once(Stream& stream, std::string_view bytes) {
    co_await stream.write(bytes);
    co_return bytes.size();
}

/// One of our streams as Beast wants one.
class AsyncStream {
  public:
    using executor_type = asio::any_io_executor;

    AsyncStream(Loop& loop, Stream& stream) : executor_(loop.executor()), stream_(stream) {}

    executor_type get_executor() const { return executor_; }

    template <class Buffers, class Token>
    auto async_read_some(const Buffers& buffers, Token&& token) {
        asio::mutable_buffer first;
        for (const asio::mutable_buffer buffer : beast::buffers_range_ref(buffers))
            if (first.size() == 0) first = buffer;
        return start(read_once(stream_, first), std::forward<Token>(token));
    }

    template <class Buffers, class Token>
    auto async_write_some(const Buffers& buffers, Token&& token) {
        // A frame's head and what it carries are one record of TLS.
        out_.clear();
        for (const asio::const_buffer buffer : beast::buffers_range_ref(buffers))
            out_.append(static_cast<const char*>(buffer.data()), buffer.size());
        return start(write_once(stream_, out_), std::forward<Token>(token));
    }

    /// The connection closes the socket when its handler has ended: nothing to do here.
    template <class Handler>
    friend void async_teardown(beast::role_type /*role*/, AsyncStream& stream, Handler&& handler) {
        asio::post(stream.executor_, asio::append(std::forward<Handler>(handler), error_code()));
    }

    friend void teardown(beast::role_type /*role*/, AsyncStream& /*stream*/, error_code& error) {
        error = {};
    }

    friend void beast_close_socket(AsyncStream& stream) { stream.stream_.close(); }

  private:
    template <class Token>
    auto start(Task<std::size_t> work, Token&& token) {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            [executor = executor_](auto handler, Task<std::size_t> body) {
                const auto slot = asio::get_associated_cancellation_slot(handler);
                // Posted: the work may end before co_spawn returns, and then Asio's rule that
                // nothing completes within its own start would not hold.
                auto ended = [executor, handler = std::move(handler)](std::exception_ptr failure,
                                                                      std::size_t count) mutable {
                    asio::post(executor, asio::append(std::move(handler), code_of(failure), count));
                };
                const log::Suspension apart;
                asio::co_spawn(executor, std::move(body),
                               asio::bind_cancellation_slot(slot, std::move(ended)));
            },
            token, std::move(work));
    }

    executor_type executor_;
    Stream& stream_;
    std::string out_;  // one writer at a time: Beast sees to it
};

/// The two directions of one WebSocket, and the pings.
class Bridge {
  public:
    Bridge(Loop& loop, Limits& limits, Stream& client, Stream& other)
        : loop_(loop),
          limits_(limits),
          client_(client),
          other_(other),
          writing_(loop, client, limits),
          pinging_(loop, client, limits),
          changed_(loop),
          socket_(loop, client) {}

    Task<void> run(const HttpRequest& request);

  private:
    Task<void> accept(const HttpRequest& request);
    Task<void> copy_in();
    Task<void> copy_out();
    Task<void> pass_in();
    Task<void> pass_out();
    Task<void> keep_alive();
    Task<void> say_goodbye();
    void end();

    Loop& loop_;
    Limits& limits_;
    Stream& client_;
    Stream& other_;
    Deadline writing_;
    Deadline pinging_;
    Signal changed_;
    // Without compression: what is typed and shown hardly shrinks, and nothing can be blown up.
    websocket::stream<AsyncStream, false> socket_;
    Time heard_{};
    bool reading_ = false;
    bool ended_ = false;
};

/// Whether the client gave a list of subprotocols, and whether ours is among them.
struct Offer {
    bool made = false;
    bool fits = false;
};

Offer offer_of(const HttpRequest& request) {
    Offer offer;
    for (const auto& [name, value] : request.headers) {
        if (!beast::iequals(name, "Sec-WebSocket-Protocol")) continue;
        offer.made = true;
        offer.fits = offer.fits || bhttp::token_list(value).exists(subprotocol);
    }
    return offer;
}

bool lists(const HttpRequest& request, std::string_view header, std::string_view token) {
    const std::string* value = request.header(header);
    return value != nullptr && bhttp::token_list(*value).exists(token);
}

bhttp::request<bhttp::empty_body> as_beast(const HttpRequest& request) {
    bhttp::request<bhttp::empty_body> out;
    out.method(bhttp::verb::get);
    out.target(request.target);
    out.version(11);
    for (const auto& [name, value] : request.headers)
        out.insert(name, value);
    return out;
}

Task<void> Bridge::accept(const HttpRequest& request) {
    socket_.set_option(websocket::stream_base::decorator([&](websocket::response_type& answer) {
        answer.set(bhttp::field::server, "Xapi Server");
        answer.set(bhttp::field::cache_control, "no-cache, no-store");
        if (offer_of(request).fits) answer.set(bhttp::field::sec_websocket_protocol, subprotocol);
    }));
    socket_.read_message_max(static_cast<std::size_t>(limits_.max(Limit::websocket_message_bytes)));
    socket_.binary(true);
    socket_.auto_fragment(false);
    // Its timer and its deadlines stay unused: time is the loop's.
    socket_.control_callback(
        [this](websocket::frame_type, beast::string_view) { heard_ = loop_.now(); });
    const bhttp::request<bhttp::empty_body> asked = as_beast(request);
    writing_.set(Limit::write_stall_time);
    const turn::Kept same_job;
    const log::Suspension suspended;
    co_await socket_.async_accept(asked, asio::use_awaitable);
    writing_.clear();
    heard_ = loop_.now();
}

Task<void> Bridge::copy_in() {
    std::array<char, piece_bytes> buffer{};
    for (;;) {
        reading_ = true;
        std::size_t got = 0;
        {
            const turn::Kept same_job;
            const log::Suspension suspended;
            got = co_await socket_.async_read_some(asio::buffer(buffer), asio::use_awaitable);
        }
        reading_ = false;
        heard_ = loop_.now();
        // An empty message says nothing.
        if (got > 0) co_await other_.write({buffer.data(), got});
    }
}

Task<void> Bridge::copy_out() {
    std::array<char, piece_bytes> buffer{};
    for (;;) {
        const std::size_t got = co_await other_.read_some(buffer);
        if (got == 0) co_return;
        writing_.set(Limit::write_stall_time);
        const turn::Kept same_job;
        const log::Suspension suspended;
        co_await socket_.async_write(asio::buffer(buffer.data(), got), asio::use_awaitable);
        writing_.clear();
    }
}

void Bridge::end() {
    ended_ = true;
    changed_.notify_all();
    client_.close();
    other_.close();
}

Task<void> Bridge::pass_in() {
    try {
        co_await copy_in();
    } catch (const system_error& error) {
        if (error.code() == websocket::error::message_too_big)
            limits_.exceeded(Limit::websocket_message_bytes);
        // Anything else, a client's own close included, is how consoles end.
    }
    reading_ = false;
    other_.close();
    ended_ = true;
    changed_.notify_all();
}

Task<void> Bridge::pass_out() {
    try {
        co_await copy_out();
        co_await say_goodbye();
    } catch (const system_error& error) {
        // The client went or ended it, or the other side broke.
        (void)error;
    }
    end();
}

/// The closing handshake, for as long as a closing connection may linger.
Task<void> Bridge::say_goodbye() {
    writing_.set(Limit::linger_time);
    const turn::Kept same_job;
    const log::Suspension suspended;
    co_await socket_.async_close(websocket::close_code::normal, asio::use_awaitable);
    writing_.clear();
}

Task<void> Bridge::keep_alive() {
    while (!ended_) {
        const Duration interval = limits_.time(Limit::websocket_ping_time);
        if (co_await changed_.wait_for(interval)) continue;
        // While what it sent waits for the guest, its pongs wait behind it.
        if (!reading_) heard_ = loop_.now();
        if (loop_.now() - heard_ >= 2 * interval) {
            limits_.exceeded(Limit::websocket_ping_time);
            co_return end();
        }
        pinging_.set(Limit::write_stall_time);
        try {
            const turn::Kept same_job;
            const log::Suspension suspended;
            co_await socket_.async_ping({}, asio::use_awaitable);
        } catch (const system_error& error) {
            // Nobody is there to read, which a direction that waits for `other` would not see.
            (void)error;
            co_return end();
        }
        pinging_.clear();
    }
}

Task<void> Bridge::run(const HttpRequest& request) {
    co_await accept(request);
    std::vector<Task<void>> parts;
    parts.push_back(pass_in());
    parts.push_back(pass_out());
    parts.push_back(keep_alive());
    co_await all(loop_, std::move(parts));
}

}  // namespace

bool wants_websocket(const HttpRequest& request) {
    return request.method == "GET" && lists(request, "Upgrade", "websocket");
}

std::optional<Response> why_no_websocket(const HttpRequest& request) {
    if (!wants_websocket(request) || !lists(request, "Connection", "upgrade") ||
        request.version_10 || request.header("Host") == nullptr)
        return bad_request("This is served as a WebSocket (RFC 6455).");
    // RFC 6455, 4.1: 16 bytes in base64.
    const std::string* key = request.header("Sec-WebSocket-Key");
    if (key == nullptr || key->size() != 24) return bad_request("Sec-WebSocket-Key is wrong.");
    const std::string* version = request.header("Sec-WebSocket-Version");
    if (version == nullptr || *version != "13") {
        Response response = bad_request("Sec-WebSocket-Version must be 13.");
        response.head.status = "426 Upgrade Required";
        response.head.headers.emplace_back("Sec-WebSocket-Version", "13");
        return response;
    }
    // Who offers only others would take our bytes for something else.
    const Offer offer = offer_of(request);
    if (offer.made && !offer.fits) return bad_request("The one subprotocol served is binary.");
    return std::nullopt;
}

Task<void> serve_websocket(Loop& loop, Limits& limits, Exchange& exchange, Stream& other) {
    Stream& client = exchange.take_over();
    Bridge bridge(loop, limits, client, other);
    try {
        co_await bridge.run(exchange.request());
    } catch (const system_error& error) {
        if (error.code() == asio::error::operation_aborted) throw;
        // The client went before its 101.
    }
    other.close();
}

}  // namespace basalt::server
