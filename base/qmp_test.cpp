#include "base/qmp.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "base/sim_loop.hpp"

namespace basalt::qmp {
namespace {

// The other side: says what the test scripts and keeps what it was told.
class Script {
  public:
    explicit Script(std::uint64_t seed) : loop(seed) {
        auto [near, far] = memory_streams(loop);
        client = std::make_unique<Client>(loop, std::move(near));
        server = std::move(far);
    }

    void say(std::string text) { spawn(loop, "say", write(*this, std::move(text))); }

    void greet_and_serve() {
        say("{\"QMP\": {\"version\": {}}}\r\n");
        spawn(loop, "serve", serve(*this));
    }

    static Task<void> write(Script& self, std::string text) { co_await self.server->write(text); }

    // Answers every command with its own name, except those named here.
    static Task<void> serve(Script& self) {
        std::string pending;
        std::array<char, 4096> buffer{};
        for (;;) {
            const std::size_t got = co_await self.server->read_some(buffer);
            if (got == 0) co_return;
            pending.append(buffer.data(), got);
            for (auto end = pending.find('\n'); end != std::string::npos;
                 end = pending.find('\n')) {
                const std::string line = pending.substr(0, end);
                pending.erase(0, end + 1);
                self.told.push_back(line);
                co_await self.server->write(reply_to(line));
            }
        }
    }

    static std::string reply_to(std::string line) {
        if (line.starts_with('\xff')) line.erase(0, 1);
        const Json command = Json::parse(line);
        const auto name = command["execute"].get<std::string>();
        if (name == "silent") return {};
        if (name == "refused")
            return Json{{"id", command["id"]},
                        {"error", {{"class", "DeviceNotFound"}, {"desc", "none"}}}}
                       .dump() +
                   "\n";
        const std::string stale = name == "guest-sync-delimited" ? "half a li\xff" : "";
        return stale + Json{{"return", name}, {"id", command["id"]}}.dump() + "\n";
    }

    SimLoop loop;
    std::unique_ptr<Client> client;
    std::unique_ptr<Stream> server;
    std::vector<std::string> told;
};

Task<void> run(Script& script, std::string command, std::string& out) {
    try {
        const Json answer = co_await script.client->execute(command, {{"x", 1}}, 5s);
        out = answer.dump();
    } catch (const Error& error) {
        out = error.kind() + "/" + error.what();
    } catch (const ApiError& error) {
        out = error.what();
    }
}

TEST(Qmp, negotiates_then_answers_each_command) {
    Script script(1);
    script.greet_and_serve();
    spawn(script.loop, "connect",
          [](Script& s) -> Task<void> { co_await s.client->connect(); }(script));
    script.loop.run_for(1s);
    ASSERT_EQ(script.told.size(), 1U);
    std::string first;
    std::string second;
    std::string refused;
    spawn(script.loop, "a", run(script, "query-a", first));
    spawn(script.loop, "b", run(script, "query-b", second));
    spawn(script.loop, "c", run(script, "refused", refused));
    script.loop.run_for(1s);
    EXPECT_EQ(first, "\"query-a\"");
    EXPECT_EQ(second, "\"query-b\"");
    EXPECT_EQ(refused, "DeviceNotFound/refused: none");
}

TEST(Qmp, a_late_answer_is_an_error_and_is_dropped_when_it_comes) {
    Script script(2);
    script.greet_and_serve();
    std::string late;
    std::string next;
    spawn(script.loop, "a", run(script, "silent", late));
    script.loop.run_for(10s);
    EXPECT_EQ(late, "INTERNAL_ERROR(QMP: silent took too long)");
    script.say("{\"return\": {}, \"id\": 1}\n");
    spawn(script.loop, "b", run(script, "query-b", next));
    script.loop.run_for(1s);
    EXPECT_EQ(next, "\"query-b\"");
}

TEST(Qmp, events_arrive_and_the_end_is_told_once) {
    Script script(3);
    std::vector<std::string> events;
    int ends = 0;
    script.client->on_event(
        [&](const std::string& name, const Json& data) { events.push_back(name + data.dump()); });
    script.client->on_closed([&] { ++ends; });
    script.greet_and_serve();
    script.say("{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n");
    std::string lost;
    spawn(script.loop, "a", run(script, "silent", lost));
    script.loop.run_for(1s);
    EXPECT_EQ(events, std::vector<std::string>{"STOP{\"a\":1}"});
    script.server->close();
    script.loop.run_for(1s);
    EXPECT_EQ(lost, "INTERNAL_ERROR(QMP: connection lost during silent)");
    EXPECT_EQ(ends, 1);
    EXPECT_TRUE(script.client->closed());
}

TEST(Qmp, an_agent_is_synchronised_past_stale_bytes) {
    Script script(4);
    spawn(script.loop, "serve", Script::serve(script));
    bool synchronised = false;
    spawn(script.loop, "agent", [](Script& s, bool& done) -> Task<void> {
        co_await s.client->connect_agent(1s);
        done = true;
    }(script, synchronised));
    script.loop.run_for(1s);
    EXPECT_TRUE(synchronised);
}

TEST(Qmp, garbage_is_passed_over_and_bad_events_and_errors_do_no_harm) {
    Script script(5);
    std::vector<std::string> events;
    script.client->on_event([&](const std::string& name, const Json& data) {
        events.push_back(name + data.at("a").dump());
    });
    script.greet_and_serve();
    std::string late;
    spawn(script.loop, "a", run(script, "silent", late));
    script.loop.run_for(10ms);
    script.say("{\"event\": 7, \"data\": {\"a\": 1}}\n{\"event\": \"E\", \"data\": []}\n");
    script.say(std::string(100'000, '[') + "\n" + "{\"id\": 1, \"error\": \"no object\"}\n");
    script.loop.run_for(1s);
    EXPECT_EQ(events, std::vector<std::string>{"1"});
    EXPECT_EQ(late, "/silent: ");
    EXPECT_FALSE(script.client->closed());
}

}  // namespace
}  // namespace basalt::qmp
