#include "xapi/rpc/connection.hpp"

#include <gtest/gtest.h>

#include <array>
#include <boost/system/system_error.hpp>

#include "xapi/rpc/metrics.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::server {
namespace {

Task<void> echo(Exchange& exchange) {
    std::string body = co_await exchange.body();
    co_await exchange.respond(ok_response(exchange.request(), "text/plain", std::move(body)));
}

Task<void> early_put(Exchange& exchange) {
    ResponseHead head;
    head.headers = {{"Connection", "close"}};
    co_await exchange.begin(head, true);
    std::array<char, 5> buffer;
    std::size_t total = 0;
    for (;;) {
        const std::size_t count = co_await exchange.read_body(buffer);
        if (count == 0) break;
        total += count;
    }
    const std::string text = std::to_string(total);
    co_await exchange.write(text);
}

Task<void> tunnel(Exchange& exchange) {
    Stream& stream = exchange.take_over();
    std::array<char, 64> buffer;
    const std::size_t count = co_await stream.read_some(buffer);
    const std::string text = "got " + std::string(buffer.data(), count);
    co_await stream.write(text);
}

struct House {
    House() : server(loop, router, nullptr, limits) {
        router.add("POST", "/", echo);
        router.add("PUT", "/import", early_put);
        router.add("CONNECT", "/console", tunnel);
    }

    std::unique_ptr<Stream> connect(Peer peer = {}) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::http, std::move(peer));
        return std::move(near);
    }

    std::string ask(std::string bytes) {
        std::string out;
        spawn(loop, "client", testing::exchange_bytes(connect(), std::move(bytes), out));
        EXPECT_TRUE(loop.run_for(1h));
        return out;
    }

    SimLoop loop{1};
    Limits limits;
    Router router;
    Server server;
};

TEST(Connection, keeps_alive_and_pipelines) {
    House house;
    const std::string one = "POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    const std::string two = "POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nde";
    EXPECT_EQ(house.ask(one + two + one),
              "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\ncache-control: "
              "no-cache, no-store\r\ncontent-type: text/plain\r\n\r\nabc"
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\ncache-control: "
              "no-cache, no-store\r\ncontent-type: text/plain\r\n\r\nde");
    EXPECT_EQ(house.server.counts().requests, 2U);
    EXPECT_EQ(house.server.counts().connections, 0U);
}

TEST(Connection, put_is_answered_before_its_body) {
    House house;
    EXPECT_EQ(
        house.ask("PUT /import?x=1 HTTP/1.0\r\nContent-Length: 1125899906842624\r\n\r\n1234567"),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n7");
    EXPECT_EQ(house.ask("PUT /import HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
              "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0");
}

TEST(Connection, takeover_gets_what_was_read_ahead) {
    House house;
    EXPECT_EQ(house.ask("CONNECT /console?uuid=1 HTTP/1.1\r\n\r\nraw"), "got raw");
}

Task<void> hesitate(Loop& loop, std::unique_ptr<Stream> stream, std::string& out) {
    co_await stream->write("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    co_await sleep_for(loop, 1s);
    std::array<char, 256> buffer;
    out.assign(buffer.data(), co_await stream->read_some(buffer));
    co_await stream->write("hi");
    const std::size_t count = co_await stream->read_some(buffer);
    out.append(buffer.data(), count);
}

TEST(Connection, who_waits_for_leave_gets_it) {
    House house;
    std::string out;
    spawn(house.loop, "client", hesitate(house.loop, house.connect(), out));
    house.loop.run_for(1h);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")) << out;
    EXPECT_TRUE(out.ends_with("\r\n\r\nhi")) << out;
}

Task<void> silent(std::unique_ptr<Stream> stream, std::string head, bool& cut) {
    if (!head.empty()) co_await stream->write(head);
    std::array<char, 64> buffer;
    cut = co_await stream->read_some(buffer) == 0;
}

TEST(Connection, slow_peers_are_cut) {
    for (const char* head : {"", "POST / HT", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12"}) {
        House house;
        bool cut = false;
        spawn(house.loop, "client", silent(house.connect(), head, cut));
        house.loop.run_for(20s);
        EXPECT_FALSE(cut) << head;
        house.loop.run_for(11min);
        EXPECT_TRUE(cut) << head;
        EXPECT_EQ(house.server.counts().connections, 0U);
    }
}

// Says one byte a second, for ever; counts how many the server took.
Task<void> drip(Loop& loop, std::unique_ptr<Stream> stream, std::string start, std::string bytes,
                int& said) {
    try {
        co_await stream->write(start);
        for (;; ++said) {
            co_await sleep_for(loop, 1s);
            const std::string_view byte(&bytes[static_cast<std::size_t>(said) % bytes.size()], 1);
            co_await stream->write(byte);
        }
    } catch (const boost::system::system_error&) {
        // Cut, which is what is awaited.
    }
}

Task<void> answer_at_once(Exchange& exchange) {
    co_await exchange.respond(ok_response(exchange.request(), "text/plain", "quick"));
}

TEST(Connection, a_peer_that_drips_its_head_or_body_is_cut) {
    struct Case {
        const char* start;
        const char* bytes;
        Limit limit;
        int seconds_max;
    };

    for (const Case& one : {
             Case{"POST / HTTP/1.1\r\n", "X-Header: x\r\n", Limit::head_time, 31},
             Case{"POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\n", "x", Limit::body_rate, 32},
             Case{"POST / HTTP/1.1\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n", "x",
                  Limit::body_rate, 32},
             // No handler reads this body; it is skipped for keep-alive.
             Case{"GET /quick HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", "x", Limit::body_rate,
                  32},
         }) {
        House house;
        house.router.add("GET", "/quick", answer_at_once);
        int said = 0;
        spawn(house.loop, "client", drip(house.loop, house.connect(), one.start, one.bytes, said));
        house.loop.run_for(10min);
        EXPECT_LE(said, one.seconds_max + 2) << one.start;
        EXPECT_EQ(house.limits.times_exceeded(one.limit), 1U) << one.start;
        EXPECT_EQ(house.server.counts().connections, 0U) << one.start;
    }
}

Task<void> flood(Exchange& exchange) {
    co_await exchange.begin(ok_head(exchange.request(), "text/plain", 10'000'000), false);
    const std::string piece(1'000'000, 'x');
    for (int i = 0; i < 10; ++i)
        co_await exchange.write(piece);
}

Task<void> never_read(Loop& loop, std::unique_ptr<Stream> stream) {
    co_await stream->write("GET /flood HTTP/1.1\r\n\r\n");
    co_await sleep_for(loop, 1h);
}

Task<void> read_slowly(Loop& loop, std::unique_ptr<Stream> stream, std::size_t& got) {
    co_await stream->write("GET /flood HTTP/1.1\r\nConnection: close\r\n\r\n");
    std::vector<char> buffer(40'000);
    while (const std::size_t count = co_await stream->read_some(buffer)) {
        got += count;
        co_await sleep_for(loop, 20s);
    }
}

TEST(Connection, a_peer_that_never_reads_is_cut_and_one_that_reads_slowly_is_not) {
    House house;
    house.router.add("GET", "/flood", flood);
    spawn(house.loop, "silent", never_read(house.loop, house.connect()));
    house.loop.run_for(2min);
    EXPECT_EQ(house.limits.times_exceeded(Limit::write_stall_time), 1U);
    EXPECT_EQ(house.server.counts().connections, 0U);
    std::size_t got = 0;
    spawn(house.loop, "slow", read_slowly(house.loop, house.connect(), got));
    house.loop.run_for(24h);
    EXPECT_GT(got, 10'000'000U);
    EXPECT_EQ(house.limits.times_exceeded(Limit::write_stall_time), 1U);
}

TEST(Connection, heads_over_the_limit_are_refused_whether_they_end_or_not) {
    House house;
    const std::string filler(20'000, 'a');
    for (const std::string& head : {"POST / HTTP/1.1\r\nX: " + filler + "\r\n\r\n",
                                    "POST / HTTP/1.1\r\nX: " + filler, filler}) {
        const std::string answer = house.ask(head);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 Internal Error\r\n")) << answer.substr(0, 80);
    }
    EXPECT_EQ(house.limits.times_exceeded(Limit::head_bytes), 3U);
}

TEST(Connection, a_chunked_body_is_refused_without_being_read) {
    House house;
    std::string chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 1000; ++i)
        chunks += "400\r\n" + std::string(0x400, 'x') + "\r\n";
    const std::string answer = house.ask(chunks);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 Internal Error\r\n")) << answer.substr(0, 80);
    EXPECT_EQ(house.server.counts().connections, 0U);
}

TEST(Connection, bodies_over_the_limit_are_refused_unless_trusted) {
    House house;
    const std::string big(400'000, 'x');
    const std::string request =
        "POST / HTTP/1.1\r\nContent-Length: 400000\r\nConnection: close\r\n\r\n" + big;
    EXPECT_TRUE(house.ask(request).starts_with("HTTP/1.1 500 Internal Error\r\n"));
    std::string out;
    spawn(house.loop, "client",
          testing::exchange_bytes(house.connect({.unix_socket = true, .trusted = true}), request,
                                  out));
    house.loop.run_for(1h);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST(Connection, limits_of_connections_hold_per_peer) {
    House house;
    std::vector<std::unique_ptr<Stream>> held;
    for (int i = 0; i < 501; ++i)
        held.push_back(house.connect({.address = "192.0.2.1"}));
    EXPECT_EQ(house.server.counts().refused, 1U);
    held.push_back(house.connect({.address = "192.0.2.2"}));
    EXPECT_EQ(house.server.counts().refused, 1U);
    bool stopped = false;
    spawn(house.loop, "stop", [](Server& server, bool& done) -> Task<void> {
        co_await server.stop(1s);
        done = true;
    }(house.server, stopped));
    house.loop.run_for(1min);
    EXPECT_TRUE(stopped);
    EXPECT_EQ(house.server.counts().connections, 0U);
}

TEST(Router, longest_prefix_wins) {
    Router router;
    router.add("PUT", "/import", echo);
    router.add("PUT", "/import_raw_vdi", tunnel);
    EXPECT_EQ(router.find("PUT", "/import_raw_vdi/")->prefix, "/import_raw_vdi");
    EXPECT_EQ(router.find("PUT", "/importX")->prefix, "/import");
    EXPECT_EQ(router.find("GET", "/import"), nullptr);
}

TEST(Metrics, text_is_prometheus) {
    Metrics metrics;
    metrics.count("calls_total", {{"method", "VM.start"}});
    metrics.count("calls_total", {{"method", "VM.start"}});
    metrics.observe("call_seconds", 3ms);
    metrics.gauge("connections", [] { return 4.0; });
    const std::string text = metrics.text();
    EXPECT_NE(text.find("calls_total{method=\"VM.start\"} 2\n"), std::string::npos) << text;
    EXPECT_NE(text.find("call_seconds_bucket{le=\"0.002\"} 0\n"), std::string::npos) << text;
    EXPECT_NE(text.find("call_seconds_bucket{le=\"0.005\"} 1\n"), std::string::npos) << text;
    EXPECT_NE(text.find("# TYPE connections gauge\nconnections 4\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace basalt::server
