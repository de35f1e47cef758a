#include "network-manager/ovsdb/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <format>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/sim_loop.hpp"

namespace basalt::nm::ovsdb {
namespace {

using testing::ElementsAre;

TEST(Splitter, cuts_texts_wherever_the_bytes_are_cut) {
    const std::string stream = R"({"a":"}{\"]","b":[1,{"c":"\\"}]}  {"d":[]}[1])";
    for (std::size_t chunk = 1; chunk <= stream.size(); ++chunk) {
        Splitter splitter;
        std::vector<Json> texts;
        for (std::size_t at = 0; at < stream.size(); at += chunk) {
            splitter.feed(stream.substr(at, chunk));
            for (std::string text = splitter.next(); !text.empty(); text = splitter.next())
                texts.push_back(Json::parse(text));
        }
        ASSERT_EQ(texts.size(), 3U) << chunk;
        EXPECT_EQ(texts.at(0).at("a"), "}{\"]");
        EXPECT_EQ(texts.at(2), Json::array({1}));
    }
}

struct Line {
    int at;
    const char* event;
    const char* next;  // "due", or when the next try is
};

// A script of (time, event) -> what the machine says.
constexpr std::array script{
    Line{0, "ask", "due"},           Line{0, "failed", "100"},       Line{50, "ask", "100"},
    Line{100, "ask", "due"},         Line{100, "failed", "300"},     Line{300, "failed", "700"},
    Line{700, "failed", "1500"},     Line{1500, "failed", "3100"},   Line{3100, "failed", "6300"},
    Line{6300, "failed", "12700"},   Line{12700, "failed", "20700"}, Line{20700, "failed", "28700"},
    Line{28700, "connected", "due"}, Line{30000, "failed", "30100"},
};

TEST(Reconnect, backs_off_until_connected) {
    Reconnect reconnect(Time{});
    for (const Line& line : script) {
        const Time now{Millis(line.at)};
        const std::string event = line.event;
        if (event == "failed") reconnect.failed(now);
        if (event == "connected") reconnect.connected();
        const auto next = std::chrono::duration_cast<Millis>(reconnect.next_try() - Time{});
        EXPECT_EQ(reconnect.due(now) ? "due" : std::to_string(next.count()), line.next)
            << line.at << " " << event;
    }
}

/// A server that answers from a script, over memory.
class Server {
  public:
    explicit Server(Loop& loop) : loop_(loop) {}

    Session::Connect connect() {
        return [this]() { return accept(); };
    }

    void drop() { ours_->close(); }

    Task<void> send(Json message) {
        const std::string text = message.dump();
        co_await ours_->write(text);
    }

    int connections = 0;
    int refuse = 0;
    std::vector<std::string> heard;

  private:
    Task<std::unique_ptr<Stream>> accept() {
        ++connections;
        if (refuse-- > 0) throw ApiError("INTERNAL_ERROR", {"refused"});
        auto [ours, theirs] = memory_streams(loop_);
        ours_ = std::move(ours);
        serving_.push_back(spawn(loop_, "server", serve(ours_)));
        co_return std::move(theirs);
    }

    Task<void> serve(std::shared_ptr<Stream> stream) {
        Splitter splitter;
        std::array<char, 64> buffer{};
        for (;;) {
            const std::size_t got = co_await stream->read_some(buffer);
            if (got == 0) co_return;
            splitter.feed({buffer.data(), got});
            for (std::string text = splitter.next(); !text.empty(); text = splitter.next()) {
                const Json message = Json::parse(text);
                heard.push_back(message.value("method", std::string("answer")));
                const Json answer = answer_to(message);
                const std::string bytes = answer.dump();
                if (!answer.is_null()) co_await stream->write(bytes);
            }
        }
    }

    static Json answer_to(const Json& message) {
        const Json id = message.at("id");
        const std::string method = message.value("method", std::string());
        if (method == "monitor")
            return {{"id", id}, {"error", nullptr}, {"result", {{"first", true}}}};
        if (method == "transact" && message.at("params").size() > 1) {
            const Json operation = message.at("params").at(1);
            if (operation.at("op") == "fail")
                return {{"id", id},
                        {"error", nullptr},
                        {"result", {{{"error", "constraint violation"}, {"details", "why"}}}}};
            if (operation.at("op") == "silence") return nullptr;
            return {{"id", id}, {"error", nullptr}, {"result", {{{"count", 1}}}}};
        }
        return nullptr;
    }

    Loop& loop_;
    std::shared_ptr<Stream> ours_;
    std::vector<std::shared_ptr<Job>> serving_;
};

Task<std::string> outcome(Task<Json> call) {
    try {
        co_return (co_await std::move(call)).dump();
    } catch (const ApiError& error) {
        co_return error.params().at(0);
    }
}

class SessionTest : public testing::Test {
  protected:
    ~SessionTest() override {
        running_->cancel();
        loop_.run_for(1s);
    }

    std::string transact(const std::string& op) {
        std::string out;
        const auto job = spawn(loop_, "test", store(op, &out));
        loop_.run_until([&] { return job->finished(); }, 60s);
        EXPECT_TRUE(job->finished());
        return out;
    }

    Task<void> store(std::string op, std::string* out) {
        Json operations = Json::array({{{"op", op}}});
        *out = co_await outcome(session_.transact(std::move(operations), 2s));
    }

    SimLoop loop_{1};
    Server server_{loop_};
    std::vector<std::string> changes_;
    Session session_{loop_, server_.connect(), Json::object(),
                     [this](const Json& tables) { changes_.push_back(tables.dump()); }};
    std::shared_ptr<Job> running_ = spawn(loop_, "session", session_.run());
};

TEST_F(SessionTest, transacts_and_tells_failures) {
    EXPECT_EQ(transact("work"), R"([{"count":1}])");
    EXPECT_EQ(transact("fail"), "ovsdb: \"constraint violation\" why");
    EXPECT_EQ(transact("silence"), "ovsdb: no answer in time");
    EXPECT_EQ(transact("work"), R"([{"count":1}])");
    EXPECT_THAT(changes_, ElementsAre(R"({"first":true})"));
}

TEST_F(SessionTest, answers_echo_and_hears_updates) {
    transact("work");
    Json echo = {{"id", "echo"}, {"method", "echo"}, {"params", {1}}};
    Json update = {
        {"id", nullptr}, {"method", "update"}, {"params", Json::array({nullptr, {{"T", 1}}})}};
    spawn(loop_, "send", server_.send(echo));
    loop_.run_for(10ms);
    spawn(loop_, "send", server_.send(update));
    loop_.run_for(10ms);
    EXPECT_THAT(server_.heard, ElementsAre("monitor", "transact", "answer"));
    EXPECT_THAT(changes_, ElementsAre(R"({"first":true})", R"({"T":1})"));
}

TEST_F(SessionTest, connects_again_after_refusals_and_losses) {
    server_.refuse = 3;
    EXPECT_EQ(transact("work"), R"([{"count":1}])");
    EXPECT_EQ(server_.connections, 4);
    server_.drop();
    loop_.run_for(10ms);
    EXPECT_FALSE(session_.connected());
    EXPECT_EQ(transact("work"), R"([{"count":1}])");
    EXPECT_EQ(server_.connections, 5);
    EXPECT_EQ(changes_.size(), 2U);
}

TEST_F(SessionTest, fails_in_time_without_a_server) {
    server_.refuse = 1000;
    EXPECT_EQ(transact("work"), "ovsdb: Open vSwitch's database does not answer");
}

TEST_F(SessionTest, an_update_that_is_none_is_passed_over) {
    transact("work");
    for (Json params : {Json::array({nullptr, 3}), Json::array(), Json("x")}) {
        spawn(loop_, "send",
              server_.send({{"id", nullptr}, {"method", "update"}, {"params", params}}));
        loop_.run_for(10ms);
    }
    EXPECT_TRUE(session_.connected());
    EXPECT_THAT(changes_, ElementsAre(R"({"first":true})"));
    EXPECT_EQ(transact("work"), R"([{"count":1}])");
}

}  // namespace
}  // namespace basalt::nm::ovsdb
