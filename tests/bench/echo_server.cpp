#include "tests/bench/echo_server.hpp"

#include <sys/mman.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <new>

#include "base/turn.hpp"

namespace basalt::bench {

namespace {

using asio::use_awaitable;
using asio::ip::tcp;
using asio::local::stream_protocol;

constexpr Duration turn_worth_a_count = 1ms;

std::size_t number_after(const std::string& text, std::string_view name) {
    const std::size_t at = text.find(name);
    std::size_t number = 0;
    if (at != std::string::npos)
        std::from_chars(text.data() + at + name.size(), text.data() + text.size(), number);
    return number;
}

// What comes after a wait belongs to a turn, as it does in our own loops (base/turn.hpp).
template <class Stream>
Task<void> write_all(Stream& stream, std::string_view bytes) {
    co_await asio::async_write(stream, asio::buffer(bytes), use_awaitable);
    turn::begun();
}

template <class Stream>
Task<void> serve(Stream stream) {
    static const std::string filling(std::size_t{64} * 1024, 'x');
    std::string in;
    try {
        for (;;) {
            const std::size_t head = co_await asio::async_read_until(
                stream, asio::dynamic_buffer(in), "\r\n\r\n", use_awaitable);
            turn::begun();
            const std::size_t body = number_after(in, "Content-Length: ");
            const std::size_t wanted = number_after(in, "POST /");
            if (in.size() < head + body)
                co_await asio::async_read(stream, asio::dynamic_buffer(in),
                                          asio::transfer_exactly(head + body - in.size()),
                                          use_awaitable);
            in.erase(0, head + body);
            const std::size_t first = std::min(wanted, filling.size());
            co_await write_all(stream,
                               "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(wanted) +
                                   "\r\n\r\n" + filling.substr(0, first));
            for (std::size_t left = wanted - first; left > 0;) {
                const std::size_t size = std::min(left, filling.size());
                co_await write_all(stream, std::string_view(filling).substr(0, size));
                left -= size;
            }
        }
    } catch (const boost::system::system_error&) {
        // The client went away.
    }
}

Task<void> serve_tls(tcp::socket socket, asio::ssl::context& context) {
    asio::ssl::stream<tcp::socket> stream(std::move(socket), context);
    try {
        co_await stream.async_handshake(asio::ssl::stream_base::server, use_awaitable);
    } catch (const boost::system::system_error&) {
        co_return;
    }
    co_await serve(std::move(stream));
}

template <class Acceptor, class Serve>
Task<void> accept(Acceptor acceptor, Serve serve_one) {
    for (;;) {
        auto socket = co_await acceptor.async_accept(use_awaitable);
        if constexpr (std::is_same_v<Acceptor, tcp::acceptor>)
            socket.set_option(tcp::no_delay(true));
        const auto executor = socket.get_executor();
        asio::co_spawn(executor, serve_one(std::move(socket)), asio::detached);
    }
}

void run_watched(asio::io_context& context, EchoServer::Turns& turns) {
    turn::watch(true);
    for (bool more = true; more;) {
        turn::reset();
        more = context.run_one() > 0;
        const auto report = turn::finished();
        if (!report) continue;
        ++turns.all;
        if (report->worked > turn_worth_a_count) ++turns.over_1ms;
    }
}

// Of the child and of the parent.
EchoServer::Turns* shared_turns() {
    void* const memory = ::mmap(nullptr, sizeof(EchoServer::Turns), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return new (memory) EchoServer::Turns;
}

}  // namespace

EchoServer::EchoServer(const std::string& unix_path, const std::string& pem_path)
    : turns_(shared_turns()) {
    asio::io_context context(1);
    const tcp::endpoint loopback(asio::ip::make_address("127.0.0.1"), 0);
    stream_protocol::acceptor local(context, stream_protocol::endpoint(unix_path));
    tcp::acceptor http(context, loopback);
    tcp::acceptor https(context, loopback);
    http_port_ = http.local_endpoint().port();
    https_port_ = https.local_endpoint().port();
    context.notify_fork(asio::io_context::fork_prepare);
    const pid_t child = ::fork();
    if (child != 0) {
        context.notify_fork(asio::io_context::fork_parent);
        process_ = Process(child);
        return;
    }
    context.notify_fork(asio::io_context::fork_child);
    asio::ssl::context tls(asio::ssl::context::tls_server);
    tls.use_certificate_chain_file(pem_path);
    tls.use_private_key_file(pem_path, asio::ssl::context::pem);
    const auto plain = [](auto socket) { return serve(std::move(socket)); };
    asio::co_spawn(context, accept(std::move(local), plain), asio::detached);
    asio::co_spawn(context, accept(std::move(http), plain), asio::detached);
    asio::co_spawn(context,
                   accept(std::move(https),
                          [&tls](tcp::socket socket) { return serve_tls(std::move(socket), tls); }),
                   asio::detached);
    run_watched(context, *turns_);
    ::_exit(0);
}

}  // namespace basalt::bench
