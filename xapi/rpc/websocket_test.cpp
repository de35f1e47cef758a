#include "xapi/rpc/websocket.hpp"

#include <gtest/gtest.h>

#include <array>
#include <boost/system/system_error.hpp>

#include "base/wait.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::server {
namespace {

enum Opcode : unsigned { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

/// A client's frame: masked, as RFC 6455 (5.3) wants it.
std::string frame(Opcode opcode, std::string_view payload, bool last = true) {
    constexpr std::array<char, 4> mask = {0x11, 0x22, 0x33, 0x44};
    std::string out(1, static_cast<char>((last ? 0x80 : 0) | opcode));
    if (payload.size() < 126) {
        out += static_cast<char>(0x80 | payload.size());
    } else {
        out += static_cast<char>(0x80 | 126);  // two bytes of length follow
        out += static_cast<char>(payload.size() >> 8);
        out += static_cast<char>(payload.size() & 0xff);
    }
    out.append(mask.data(), mask.size());
    for (std::size_t i = 0; i < payload.size(); ++i)
        out += static_cast<char>(payload[i] ^ mask[i % 4]);
    return out;
}

/// What a server's short frame looks like.
std::string answer(Opcode opcode, std::string_view payload) {
    std::string out(1, static_cast<char>(0x80 | opcode));
    out += static_cast<char>(payload.size());
    return out += payload;
}

std::string with_code(unsigned code, std::string_view reason = {}) {
    std::string out{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    return out += reason;
}

std::string upgrade(const std::string& extra = {}) {
    return "GET /console HTTP/1.1\r\nHost: host\r\nUpgrade: websocket\r\n"
           "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           "Sec-WebSocket-Version: 13\r\n" +
           extra + "\r\n";
}

/// A server whose /console joins its client with one end of a stream; the other end is the guest.
struct House {
    House() : server(loop, router, nullptr, limits) {
        auto [here, there] = memory_streams(loop);
        inner = std::move(here);
        guest = std::move(there);
        router.add("GET", "/console", [this](Exchange& exchange) { return serve(exchange); });
    }

    Task<void> serve(Exchange& exchange) {
        if (auto refusal = why_no_websocket(exchange.request()))
            co_return co_await exchange.respond(*std::move(refusal));
        co_await serve_websocket(loop, limits, exchange, *inner);
        served = true;
    }

    /// A client that says `bytes` and hears until the server closes.
    void connect(const std::string& bytes) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::http, {});
        client = std::move(near);
        spawn(loop, "writer", write(*client, bytes));
        spawn(loop, "reader", read(*client, heard));
        spawn(loop, "guest", read(*guest, typed));
    }

    void say(Stream& stream, const std::string& bytes) {
        spawn(loop, "writer", write(stream, bytes));
    }

    static Task<void> write(Stream& stream, std::string bytes) { co_await stream.write(bytes); }

    static Task<void> read(Stream& stream, std::string& out) {
        std::array<char, 4096> buffer{};
        for (;;) {
            const std::size_t count = co_await stream.read_some(buffer);
            if (count == 0) break;
            out.append(buffer.data(), count);
        }
        out += "<end>";
    }

    void pass(Duration time) {
        spawn(loop, "wait", sleep_for(loop, time));
        loop.run_for(time);
    }

    /// What came after the head of the answer.
    [[nodiscard]] std::string frames() const {
        const std::size_t end = heard.find("\r\n\r\n");
        return end == std::string::npos ? heard : heard.substr(end + 4);
    }

    SimLoop loop{1};
    Limits limits;
    Router router;
    Server server;
    std::unique_ptr<Stream> inner;
    std::unique_ptr<Stream> guest;
    std::unique_ptr<Stream> client;
    std::string heard;
    std::string typed;
    bool served = false;
};

TEST(WebSocket, the_handshake_is_that_of_the_standard) {
    House house;
    house.connect(upgrade("Sec-WebSocket-Protocol: base64, binary\r\n"));
    house.pass(1s);
    EXPECT_TRUE(house.heard.starts_with("HTTP/1.1 101 Switching Protocols\r\n")) << house.heard;
    // The key and its answer are those of RFC 6455, 1.3.
    EXPECT_NE(house.heard.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
              std::string::npos);
    EXPECT_NE(house.heard.find("Sec-WebSocket-Protocol: binary\r\n"), std::string::npos);
    EXPECT_EQ(house.heard.find("Sec-WebSocket-Extensions"), std::string::npos);

    House without;
    without.connect(upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    without.pass(1s);
    EXPECT_TRUE(without.heard.starts_with("HTTP/1.1 101 "));
    EXPECT_EQ(without.heard.find("Sec-WebSocket-Protocol"), std::string::npos);
    EXPECT_EQ(without.heard.find("Sec-WebSocket-Extensions"), std::string::npos);
}

TEST(WebSocket, what_is_no_proper_upgrade_is_told_so) {
    const auto status = [](std::string request) {
        House house;
        house.connect(request);
        house.pass(1s);
        EXPECT_FALSE(house.served);
        return house.heard.substr(9, 3);
    };
    const auto without = [](const std::string& line) {
        std::string request = upgrade();
        request.erase(request.find(line), line.size() + 2);
        return request;
    };
    EXPECT_EQ(status("GET /console HTTP/1.1\r\nHost: host\r\n\r\n"), "400");
    EXPECT_EQ(status(without("Upgrade: websocket")), "400");
    EXPECT_EQ(status(without("Connection: keep-alive, Upgrade")), "400");
    EXPECT_EQ(status(without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")), "400");
    EXPECT_EQ(status(without("Sec-WebSocket-Version: 13")), "426");
    EXPECT_EQ(status(upgrade("Sec-WebSocket-Protocol: base64\r\n")), "400");
}

TEST(WebSocket, bytes_go_both_ways) {
    House house;
    // The first messages come with the request, cut into fragments with a ping between them.
    house.connect(upgrade() + frame(text, "ro", false) + frame(ping, "p") +
                  frame(continuation, "ot\n") + frame(binary, "") + frame(binary, {"\0\xff", 2}));
    house.say(*house.guest, "login: ");
    house.pass(1s);
    EXPECT_EQ(house.typed, std::string("root\n\0\xff", 7));
    const std::string frames = house.frames();
    EXPECT_EQ(frames.size(), answer(binary, "login: ").size() + answer(pong, "p").size());
    EXPECT_NE(frames.find(answer(binary, "login: ")), std::string::npos);
    EXPECT_NE(frames.find(answer(pong, "p")), std::string::npos);
}

TEST(WebSocket, a_long_text_comes_in_messages_of_bounded_size) {
    House house;
    house.connect(upgrade());
    house.pass(1s);
    house.say(*house.guest, std::string(100'000, 'x'));
    house.pass(1s);
    std::string frames = house.frames();
    std::size_t total = 0;
    while (!frames.empty()) {
        ASSERT_EQ(static_cast<unsigned char>(frames[0]), 0x80U | binary);
        ASSERT_EQ(frames[1], 126);  // two bytes of length follow
        const std::size_t length =
            static_cast<unsigned char>(frames[2]) * 256U + static_cast<unsigned char>(frames[3]);
        ASSERT_LE(length, 16384U);
        total += length;
        frames.erase(0, 4 + length);
    }
    EXPECT_EQ(total, 100'000U);
}

TEST(WebSocket, a_close_is_answered_and_ends_the_guest_s_stream) {
    House house;
    house.connect(upgrade() + frame(binary, "x") + frame(close, with_code(1000)));
    house.pass(1s);
    EXPECT_EQ(house.typed, "x<end>");
    EXPECT_EQ(house.frames(), answer(close, with_code(1000)) + "<end>");
    EXPECT_TRUE(house.served);
    EXPECT_EQ(house.server.counts().connections, 0U);
}

TEST(WebSocket, a_client_that_breaks_off_ends_the_guest_s_stream) {
    House house;
    house.connect(upgrade());
    house.pass(1s);
    house.client->close();
    house.pass(1s);
    EXPECT_EQ(house.typed, "<end>");
    EXPECT_TRUE(house.served);
}

TEST(WebSocket, the_end_of_the_guest_is_a_normal_close) {
    House house;
    house.connect(upgrade());
    house.pass(1s);
    house.guest->close();
    house.pass(100ms);
    EXPECT_EQ(house.frames(), answer(close, with_code(1000)));
    house.say(*house.client, frame(close, with_code(1000)));
    house.pass(100ms);
    EXPECT_TRUE(house.served);

    // One that never answers it is not waited for longer than any connection that closes.
    House mute;
    mute.connect(upgrade());
    mute.pass(1s);
    mute.guest->close();
    mute.pass(1s);
    EXPECT_FALSE(mute.served);
    mute.pass(3s);
    EXPECT_TRUE(mute.served);
}

TEST(WebSocket, a_message_over_the_limit_ends_with_1009) {
    House house;
    house.limits.set(Limit::websocket_message_bytes, 1000);
    house.connect(upgrade() + frame(binary, std::string(1000, 'a')));
    house.pass(1s);
    EXPECT_EQ(house.typed.size(), 1000U);
    // In one frame, or in many.
    house.say(*house.client, frame(binary, std::string(600, 'b'), false) +
                                 frame(continuation, std::string(600, 'b')));
    house.pass(1s);
    EXPECT_EQ(house.frames(), answer(close, with_code(1009)) + "<end>");
    EXPECT_EQ(house.limits.times_exceeded(Limit::websocket_message_bytes), 1U);
    EXPECT_TRUE(house.served);
}

TEST(WebSocket, nonsense_ends_with_the_code_that_says_so) {
    const auto told = [](const std::string& bytes) {
        House house;
        house.connect(upgrade() + bytes);
        house.pass(5s);
        EXPECT_TRUE(house.served);
        return house.frames();
    };
    const std::string unmasked = answer(binary, "x");
    EXPECT_EQ(told(unmasked), answer(close, with_code(1002)) + "<end>");
    EXPECT_EQ(told(frame(text, "\xff\xff")), answer(close, with_code(1007)) + "<end>");
}

TEST(WebSocket, a_silent_client_is_pinged_and_then_cut) {
    House house;
    house.connect(upgrade());
    house.pass(31s);
    EXPECT_EQ(house.frames(), answer(ping, ""));
    house.say(*house.client, frame(pong, ""));
    house.pass(30s);
    EXPECT_FALSE(house.served) << "it has answered";
    EXPECT_EQ(house.frames(), answer(ping, "") + answer(ping, ""));
    house.pass(61s);
    EXPECT_TRUE(house.served);
    EXPECT_EQ(house.typed, "<end>");
    EXPECT_EQ(house.limits.times_exceeded(Limit::websocket_ping_time), 1U);
}

TEST(WebSocket, a_client_that_does_not_read_is_cut) {
    House house;
    auto [near, far] = memory_streams(house.loop);
    house.server.serve(std::move(far), Scheme::http, {});
    spawn(house.loop, "writer", House::write(*near, upgrade()));
    spawn(house.loop, "guest", House::write(*house.guest, std::string(1'000'000, 'x')));
    house.pass(59s);
    EXPECT_FALSE(house.served);
    house.pass(10s);
    EXPECT_TRUE(house.served);
    EXPECT_EQ(house.limits.times_exceeded(Limit::write_stall_time), 1U);
}

TEST(WebSocket, the_end_of_the_server_ends_it) {
    House house;
    house.connect(upgrade());
    house.pass(1s);
    spawn(house.loop, "stop", house.server.stop(1s));
    house.pass(5s);
    EXPECT_EQ(house.server.counts().connections, 0U);
}

}  // namespace
}  // namespace basalt::server
