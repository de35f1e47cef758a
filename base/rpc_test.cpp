#include "base/rpc.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/system/system_error.hpp>

#include "base/framing.hpp"
#include "base/sim_loop.hpp"

namespace basalt::rpc {
namespace {

class Echo : public Handler {
  public:
    explicit Echo(Loop& loop) : loop_(loop) {}

    Task<Reply> handle(Request request) override {
        if (request.verb == "fail") throw ApiError("SOME_CODE", {"a", "b"});
        if (request.verb == "slow") {
            request.progress(0.5);
            co_await sleep_for(loop_, 1h);
        }
        co_return Reply{request.args, {}};
    }

    Task<void> on_event(std::string name, Json) override {
        events.push_back(std::move(name));
        co_return;
    }

    std::vector<std::string> events;

  private:
    Loop& loop_;
};

struct Pair {
    explicit Pair(std::uint64_t seed) : loop(seed), echo(loop) {
        auto [near, far] = memory_channels(loop);
        client = std::make_unique<Peer>(loop, std::move(near), nullptr);
        server = std::make_unique<Peer>(loop, std::move(far), &echo);
        spawn(loop, "client", client->run());
        spawn(loop, "server", server->run());
    }

    SimLoop loop;
    Echo echo;
    std::unique_ptr<Peer> client;
    std::unique_ptr<Peer> server;
};

Task<void> ask(Peer& peer, std::string verb, std::string& out, Progress progress = {}) {
    try {
        const Reply reply =
            co_await peer.call(std::move(verb), {{"x", 1}}, {}, std::move(progress));
        out = reply.result.dump();
    } catch (const ApiError& error) {
        out = error.what();
    }
}

TEST(Rpc, answers_and_errors_arrive) {
    Pair pair(1);
    std::string good;
    std::string bad;
    spawn(pair.loop, "good", ask(*pair.client, "echo", good));
    spawn(pair.loop, "bad", ask(*pair.client, "fail", bad));
    pair.loop.run_for(1s);
    EXPECT_EQ(good, R"({"x":1})");
    EXPECT_EQ(bad, "SOME_CODE(a, b)");
}

TEST(Rpc, progress_and_cancel_reach_the_other_end) {
    Pair pair(2);
    std::string out;
    double seen = 0;
    const auto job = spawn(pair.loop, "slow",
                           ask(*pair.client, "slow", out, [&](double value) { seen = value; }));
    pair.loop.at(pair.loop.now() + 1s, [job] { job->cancel(); });
    pair.loop.run_for(5s);
    EXPECT_EQ(seen, 0.5);
    EXPECT_TRUE(is_cancellation(job->failure()));
    EXPECT_LT(pair.loop.now().time_since_epoch(), 1min);
}

TEST(Rpc, a_lost_connection_fails_open_calls) {
    Pair pair(3);
    std::string out;
    spawn(pair.loop, "slow", ask(*pair.client, "slow", out));
    pair.loop.at(pair.loop.now() + 1s, [&] { pair.server->close(); });
    pair.loop.run_for(5s);
    EXPECT_EQ(out, "INTERNAL_ERROR(connection lost, slow)");
}

TEST(Rpc, events_arrive) {
    Pair pair(4);
    pair.client->notify("vm.changed", {});
    pair.loop.run_for(1s);
    EXPECT_EQ(pair.echo.events, std::vector<std::string>{"vm.changed"});
}

// The other end of a socket: says what it was made with, then ends.
class Said final : public FdStream {
  public:
    explicit Said(std::string bytes, std::vector<UniqueFd> fds = {})
        : bytes_(std::move(bytes)), fds_(std::move(fds)) {}

    Task<std::size_t> read_some(std::span<char> buffer) override {
        const std::size_t count = std::min(buffer.size(), bytes_.size());
        std::copy_n(bytes_.begin(), count, buffer.begin());
        bytes_.erase(0, count);
        co_return count;
    }

    Task<FdMessage> read_with_fds(std::span<char> buffer) override {
        FdMessage message;
        message.bytes = co_await read_some(buffer);
        message.fds = std::exchange(fds_, {});
        co_return message;
    }

    Task<void> write(std::string_view) override { co_return; }

    Task<void> write_with_fds(std::string_view, std::span<const UniqueFd>) override { co_return; }

    void shutdown_write() override {}

    void close() override {}

    [[nodiscard]] int fd() const override { return -1; }

  private:
    std::string bytes_;
    std::vector<UniqueFd> fds_;
};

std::string frame(const std::string& text) {
    std::string bytes;
    for (const int shift : {24, 16, 8, 0})
        bytes += static_cast<char>(text.size() >> shift);
    return bytes + text;
}

struct Outcome {
    std::string answer;
    bool served = false;
    bool failed = false;
    std::vector<std::string> events;
};

// A peer with one call under way (its number is 1) hears `bytes`.
Outcome heard(const std::string& bytes) {
    SimLoop loop(5);
    Echo echo(loop);
    Peer peer(loop, socket_channel(loop, std::make_unique<Said>(bytes)), &echo);
    Outcome outcome;
    spawn(loop, "call", ask(peer, "verb", outcome.answer, [](double) {}));
    const auto serving = spawn(loop, "serve", peer.run());
    loop.run_for(1min);
    outcome.served = serving->finished();
    outcome.failed = serving->failure() != nullptr;
    outcome.events = echo.events;
    EXPECT_TRUE(peer.closed());
    return outcome;
}

Task<void> receive_into(Channel& channel, std::vector<std::size_t>& counts, std::size_t frames) {
    while (counts.size() < frames)
        counts.push_back((co_await channel.receive()).fds.size());
}

// The kernel hands over the bytes of several frames at once, with the descriptors of the last.
TEST(Rpc, descriptors_belong_to_the_frame_that_says_so) {
    SimLoop loop(6);
    std::vector<UniqueFd> fds;
    fds.emplace_back(::dup(0));
    fds.emplace_back(::dup(0));
    const auto channel =
        socket_channel(loop, std::make_unique<Said>(frame(R"({"id":1,"result":1})") +
                                                        frame(R"({"id":2,"result":2,"fds":1})") +
                                                        frame(R"({"id":3,"result":3,"fds":1})"),
                                                    std::move(fds)));
    std::vector<std::size_t> counts;
    spawn(loop, "receive", receive_into(*channel, counts, 3));
    loop.run_for(1s);
    EXPECT_EQ(counts, (std::vector<std::size_t>{0, 1, 1}));
}

TEST(Rpc, a_frame_that_is_none_ends_the_connection_and_every_call) {
    for (const char* text :
         {"[]", "nonsense", R"({"id":"1","result":1})", R"({"id":-1,"result":1})",
          R"({"progress":{},"value":1})", R"({"cancel":"x"})", R"({"id":1.5,"verb":"a"})",
          R"({"id":1,"verb":7})", R"({"event":[]})", R"({"id":1,"result":1,"fds":1})",
          R"({"id":1,"result":1,"fds":-1})"}) {
        const Outcome outcome = heard(frame(text));
        EXPECT_TRUE(outcome.served) << text;
        EXPECT_FALSE(outcome.failed) << text;
        EXPECT_EQ(outcome.answer, "INTERNAL_ERROR(connection lost, verb)") << text;
    }
    EXPECT_EQ(heard(frame(R"({"id":1,"result":[2]})")).answer, "[2]");
    EXPECT_EQ(
        heard(frame(R"({"progress":1,"value":"half"})") + frame(R"({"id":1,"result":3})")).answer,
        "3");
}

TEST(Rpc, a_long_message_comes_in_several_frames) {
    for (const std::size_t bytes : {frame_bytes_max - 20, frame_bytes_max, 3 * frame_bytes_max}) {
        const std::string text = '"' + std::string(bytes, 'x') + '"';
        const std::string sent = framed(R"({"id":1,"result":)" + text + "}");
        EXPECT_EQ(heard(sent + frame(R"({"event":"e"})")).answer, text);
        EXPECT_EQ(heard(sent.substr(0, sent.size() - 1)).answer,
                  "INTERNAL_ERROR(connection lost, verb)");
    }
    EXPECT_THROW((void)framed(std::string(message_bytes_max + 1, 'x')),
                 boost::system::system_error);
    std::string endless;
    for (std::size_t i = 0; i <= message_bytes_max / frame_bytes_max; ++i)
        endless += std::string("\x80\x10\0\0", 4) + std::string(frame_bytes_max, 'x');
    EXPECT_EQ(heard(endless).answer, "INTERNAL_ERROR(connection lost, verb)");
}

TEST(Rpc, nesting_is_bounded) {
    const std::size_t depth = frame_bytes_max / 2 - 100;
    const std::string deep =
        R"({"id":1,"result":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
    EXPECT_EQ(heard(frame(deep)).answer, "INTERNAL_ERROR(connection lost, verb)");
    const std::string fine =
        R"({"id":1,"result":)" + std::string(400, '[') + std::string(400, ']') + "}";
    EXPECT_EQ(heard(frame(fine)).answer, std::string(400, '[') + std::string(400, ']'));
}

TEST(Rpc, an_event_that_its_handler_cannot_read_is_dropped) {
    class Picky final : public Handler {
      public:
        Task<Reply> handle(Request) override { co_return Reply{}; }

        Task<void> on_event(std::string, Json args) override {
            sum += args.at("n").get<int>();
            co_return;
        }

        int sum = 0;
    };

    SimLoop loop(6);
    Picky picky;
    Peer peer(
        loop,
        socket_channel(loop, std::make_unique<Said>(frame(R"({"event":"e","args":{"n":"x"}})") +
                                                    frame(R"({"event":"e","args":[]})") +
                                                    frame(R"({"event":"e","args":{"n":4}})"))),
        &picky);
    spawn(loop, "serve", peer.run());
    loop.run_for(1min);
    EXPECT_EQ(picky.sum, 4);
}

}  // namespace
}  // namespace basalt::rpc
