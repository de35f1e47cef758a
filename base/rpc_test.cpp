#include "base/rpc.hpp"

#include <gtest/gtest.h>

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

    void on_event(std::string name, Json) override { events.push_back(std::move(name)); }

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

}  // namespace
}  // namespace basalt::rpc
