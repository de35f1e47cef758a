#include "xapi/core/fairness.hpp"

#include <gtest/gtest.h>

#include "base/sim_loop.hpp"
#include "xapi/core/limits.hpp"

namespace basalt::core {
namespace {

const auto anybody = [](const std::string&) { return true; };

std::vector<FairLines::Ticket> drained(FairLines& lines) {
    std::vector<FairLines::Ticket> order;
    while (const auto ticket = lines.pop(anybody))
        order.push_back(*ticket);
    return order;
}

TEST(FairLines, peers_take_turns_and_within_a_peer_its_sessions) {
    FairLines lines;
    for (FairLines::Ticket ticket = 1; ticket <= 4; ++ticket)
        lines.push({"greedy", "a"}, ticket);
    lines.push({"greedy", "b"}, 11);
    lines.push({"polite", "c"}, 21);
    lines.push({"polite", "c"}, 22);
    EXPECT_EQ(drained(lines), (std::vector<FairLines::Ticket>{1, 21, 11, 22, 2, 3, 4}));
    EXPECT_TRUE(lines.empty());
}

TEST(FairLines, who_leaves_is_not_called) {
    FairLines lines;
    lines.push({"p", "a"}, 1);
    lines.push({"p", "a"}, 2);
    lines.push({"q", ""}, 3);
    EXPECT_TRUE(lines.erase({"p", "a"}, 1));
    EXPECT_FALSE(lines.erase({"p", "a"}, 1));
    EXPECT_FALSE(lines.erase({"r", ""}, 9));
    EXPECT_TRUE(lines.erase({"q", ""}, 3));
    EXPECT_EQ(drained(lines), (std::vector<FairLines::Ticket>{2}));
}

TEST(FairLines, a_peer_that_may_not_go_is_passed_over_and_keeps_its_place) {
    FairLines lines;
    lines.push({"p", ""}, 1);
    lines.push({"q", ""}, 2);
    EXPECT_EQ(lines.pop([](const std::string& peer) { return peer != "p"; }), 2U);
    EXPECT_EQ(lines.pop(anybody), 1U);
}

Task<void> work(FairTurns& turns, Contender who, int slices, std::vector<std::string>& order) {
    const std::string name = who.peer;
    for (int i = 0; i < slices; ++i) {
        co_await turns.next(who);
        order.push_back(name);
    }
}

TEST(FairTurns, a_caller_waits_for_one_slice_of_each_other_however_much_they_ask_for) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SimLoop loop(seed);
        FairTurns turns(loop);
        std::vector<std::string> order;
        for (int i = 0; i < 64; ++i)
            spawn(loop, "greedy", work(turns, {"greedy", "g"}, 10, order));
        spawn(loop, "polite", work(turns, {"polite", "p"}, 10, order));
        EXPECT_TRUE(loop.run_for(1min));
        ASSERT_EQ(order.size(), 650U);
        const auto first = std::ranges::find(order, "polite") - order.begin();
        const auto last = std::ranges::find_last(order, "polite").begin() - order.begin();
        // It begins somewhere among the first 65; from then on it has every second turn, give or
        // take the order in which the simulated loop runs what is ready. Unfair were 64 * 10.
        EXPECT_LE(last - first, 6 * 10) << "seed " << seed;
        EXPECT_EQ(turns.waiting(), 0U);
    }
}

TEST(FairTurns, small_work_goes_at_once_for_a_slices_time_and_then_takes_a_turn) {
    SimLoop loop(1);
    FairTurns turns(loop);
    spawn(loop, "later", sleep_for(loop, 1ms));
    EXPECT_TRUE(loop.run_for(1s));
    EXPECT_TRUE(turns.at_once());  // and with it this round's turn is given
    EXPECT_FALSE(turns.at_once());
    EXPECT_TRUE(loop.run_for(1us));
    for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(turns.at_once()) << "within a slice's time";
}

Task<void> work_small(FairTurns& turns, std::string name, std::vector<std::string>& order) {
    co_await turns.next({name, {}}, FairTurns::Work::small);
    order.push_back(name);
}

TEST(FairTurns, nobody_goes_at_once_while_a_slice_is_worked_on) {
    SimLoop loop(1);
    FairTurns turns(loop);
    std::vector<std::string> order;
    spawn(loop, "slice", work(turns, {"a", {}}, 3, order));
    bool refused = false;
    loop.post([&] { refused = !turns.at_once(); });
    for (int i = 0; i < 20; ++i)
        spawn(loop, "small", work_small(turns, "b", order));
    EXPECT_TRUE(loop.run_for(1s));
    EXPECT_TRUE(refused);
    ASSERT_EQ(order.size(), 23U);
    // Eight small ones are as much as a slice: the slices are not at the end.
    const auto last = std::ranges::find_last(order, "a").begin() - order.begin();
    EXPECT_LE(last, 2 + 3 * 8);
    EXPECT_EQ(turns.waiting(), 0U);
}

TEST(FairTurns, who_is_cancelled_leaves_the_line) {
    SimLoop loop(1);
    std::vector<std::string> order;
    FairTurns turns(loop);
    std::vector<std::shared_ptr<Job>> jobs;
    for (int i = 0; i < 10; ++i)
        jobs.push_back(spawn(loop, "job", work(turns, {std::to_string(i), {}}, 100, order)));
    loop.post([&] {
        for (const auto& job : jobs)
            job->cancel();
    });
    EXPECT_TRUE(loop.run_for(1min));
    EXPECT_LT(order.size(), 1000U);
    EXPECT_EQ(turns.waiting(), 0U);
}

Task<void> hold(Loop& loop, FairGate& gate, Contender who, std::uint64_t units,
                std::vector<std::string>& order, std::uint64_t& most) {
    const std::string name = who.peer;
    const auto place = co_await gate.enter(who, units);
    order.push_back(name);
    most = std::max(most, gate.in_use());
    co_await sleep_for(loop, 1ms);
}

TEST(FairGate, places_are_bounded_and_go_round_the_peers) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SimLoop loop(seed);
        FairGate gate(loop, 4, 3);
        std::vector<std::string> order;
        std::uint64_t most = 0;
        for (int i = 0; i < 30; ++i)
            spawn(loop, "greedy", hold(loop, gate, {"greedy", {}}, 1, order, most));
        loop.run_for(0ms);
        EXPECT_EQ(gate.in_use(), 3U) << "a peer has no more than its share";
        for (int i = 0; i < 3; ++i)
            spawn(loop, "polite", hold(loop, gate, {"polite", {}}, 1, order, most));
        EXPECT_TRUE(loop.run_for(1min));
        EXPECT_EQ(most, 4U);
        EXPECT_EQ(gate.in_use(), 0U);
        ASSERT_EQ(order.size(), 33U);
        EXPECT_EQ(std::ranges::count(std::span(order).first(12), "polite"), 3) << "seed " << seed;
    }
}

TEST(FairGate, a_cancelled_wait_holds_nothing_and_a_moved_place_once) {
    SimLoop loop(5);
    FairGate gate(loop, 1, 1);
    std::vector<std::string> order;
    std::uint64_t most = 0;
    const auto first = spawn(loop, "first", hold(loop, gate, {"a", {}}, 1, order, most));
    const auto second = spawn(loop, "second", hold(loop, gate, {"b", {}}, 1, order, most));
    loop.run_until([&] { return !order.empty(); }, 1min);
    second->cancel();
    first->cancel();
    EXPECT_TRUE(loop.run_for(1min));
    EXPECT_EQ(gate.in_use(), 0U);
    spawn(loop, "moves", [](FairGate& from) -> Task<void> {
        FairGate::Place place = co_await from.enter({"c", {}});
        FairGate::Place other = std::move(place);
        EXPECT_FALSE(place.held());
        EXPECT_EQ(from.in_use(), 1U);
        other.give_back();
        other.give_back();
        EXPECT_EQ(from.in_use(), 0U);
    }(gate));
    EXPECT_TRUE(loop.run_for(1min));
}

TEST(FairGate, more_than_there_is_counts_as_all) {
    SimLoop loop(6);
    FairGate gate(loop, 10, 10);
    std::vector<std::string> order;
    std::uint64_t most = 0;
    spawn(loop, "big", hold(loop, gate, {"big", {}}, 1000, order, most));
    spawn(loop, "small", hold(loop, gate, {"small", {}}, 1, order, most));
    EXPECT_TRUE(loop.run_for(1min));
    EXPECT_EQ(order.size(), 2U);
    EXPECT_EQ(gate.in_use(), 0U);
}

TEST(RateLimit, lets_a_burst_through_and_then_so_many_a_second) {
    const Time start{};
    RateLimit rate(10, 5, start);
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(rate.take(start), Duration::zero());
    EXPECT_EQ(rate.take(start), Duration(100ms));
    EXPECT_EQ(rate.take(start), Duration(200ms));
    EXPECT_FALSE(rate.full(start));
    EXPECT_EQ(rate.take(start + 1s), Duration::zero());
    EXPECT_TRUE(rate.full(start + 10s));
}

TEST(Limits, text_has_value_use_and_how_often_it_held) {
    Limits limits;
    limits.use(Limit::connections, [] { return std::uint64_t{7}; });
    limits.exceeded(Limit::connections);
    limits.exceeded(Limit::connections);
    const std::string text = limits.text();
    const auto has = [&](const char* line) { return text.find(line) != std::string::npos; };
    EXPECT_TRUE(has("\nxapi_limit{limit=\"connections\",unit=\"connections\"} 2000\n")) << text;
    EXPECT_TRUE(has("\nxapi_limit_in_use{limit=\"connections\",unit=\"connections\"} 7\n"));
    EXPECT_TRUE(has("\nxapi_limit_exceeded_total{limit=\"connections\",unit=\"connections\"} 2\n"));
    for (const LimitInfo& info : limit_table)
        EXPECT_TRUE(has(std::string(info.name).c_str())) << info.name;
}

}  // namespace
}  // namespace basalt::core
