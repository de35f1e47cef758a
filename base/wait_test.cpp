#include "base/wait.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/context.hpp"
#include "base/real_loop.hpp"
#include "base/sim_loop.hpp"
#include "base/undo.hpp"

namespace basalt {
namespace {

Task<void> sleep_then_note(Loop& loop, Duration time, std::vector<int>& notes, int note) {
    co_await sleep_for(loop, time);
    notes.push_back(note);
}

TEST(Wait, sleeps_end_in_order_of_time) {
    SimLoop loop(1);
    std::vector<int> notes;
    spawn(loop, "late", sleep_then_note(loop, 2s, notes, 2));
    spawn(loop, "early", sleep_then_note(loop, 1s, notes, 1));
    EXPECT_TRUE(loop.run_for(10s));
    EXPECT_EQ(notes, (std::vector{1, 2}));
    EXPECT_EQ(loop.now().time_since_epoch(), 2s);
}

TEST(Wait, cancel_ends_a_sleep_and_is_no_failure_of_others) {
    SimLoop loop(1);
    std::vector<int> notes;
    const auto job = spawn(loop, "sleeper", sleep_then_note(loop, 1h, notes, 1));
    spawn(loop, "other", sleep_then_note(loop, 1s, notes, 2));
    loop.at(loop.now() + 500ms, [job] { job->cancel(); });
    EXPECT_TRUE(loop.run_for(10s));
    ASSERT_TRUE(job->finished());
    EXPECT_TRUE(is_cancellation(job->failure()));
    EXPECT_EQ(notes, std::vector{2});
}

Task<void> note_cancel(Loop& loop, std::vector<int>& notes) {
    std::exception_ptr failure;
    try {
        co_await sleep_for(loop, 1h);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    notes.push_back(failure && is_cancellation(failure) ? 1 : 0);
}

TEST(Wait, a_job_cancelled_before_it_began_handles_its_cancel) {
    SimLoop loop(1);
    std::vector<int> notes;
    const auto job = spawn(loop, "early", note_cancel(loop, notes));
    job->cancel();
    EXPECT_TRUE(loop.run_for(10s));
    EXPECT_TRUE(job->finished());
    EXPECT_EQ(notes, std::vector{1});
}

Task<void> expect_late(Loop& loop, std::string& out) {
    try {
        co_await within(loop, 1s, sleep_for(loop, 5s), ApiError("TOO_LATE", {}));
    } catch (const ApiError& error) {
        out = error.code();
    }
}

TEST(Wait, within_throws_when_time_passes) {
    SimLoop loop(1);
    std::string out;
    spawn(loop, "t", expect_late(loop, out));
    loop.run_for(10s);
    EXPECT_EQ(out, "TOO_LATE");
    EXPECT_EQ(loop.now().time_since_epoch(), 1s);
}

// Ends in its own way when it is cancelled.
Task<void> end_otherwise(Loop& loop, bool fails) {
    bool cancelled = false;
    try {
        co_await sleep_for(loop, 1h);
    } catch (const std::exception&) {
        cancelled = true;
    }
    if (cancelled && fails) throw ApiError("OTHERWISE", {});
}

Task<void> notice_cancel(Loop& loop, bool fails, std::vector<std::string>& notes) {
    try {
        co_await within(loop, 2h, end_otherwise(loop, fails), ApiError("TOO_LATE", {}));
        notes.emplace_back("ended");
    } catch (const ApiError& error) {
        notes.push_back(error.code());
    }
    co_await sleep_for(loop, 1h);
    notes.emplace_back("deaf");
}

TEST(Wait, a_cancel_is_not_lost_when_the_body_ends_another_way) {
    for (const bool fails : {false, true}) {
        SimLoop loop(1);
        std::vector<std::string> notes;
        const auto job = spawn(loop, "t", notice_cancel(loop, fails, notes));
        loop.at(loop.now() + 1s, [job] { job->cancel(); });
        EXPECT_TRUE(loop.run_for(3h));
        EXPECT_EQ(notes, std::vector<std::string>{fails ? "OTHERWISE" : "ended"});
        EXPECT_TRUE(job->failure() && is_cancellation(job->failure()));
        EXPECT_EQ(loop.now().time_since_epoch(), 1s);
    }
}

Task<void> handle_failures(Loop& loop, int& handled) {
    std::vector<Task<void>> bodies;
    bodies.push_back(end_otherwise(loop, true));
    bodies.push_back(sleep_for(loop, 1s));
    try {
        co_await within(loop, 1min, all(loop, std::move(bodies)), ApiError("TOO_LATE", {}));
    } catch (const ApiError&) {
        ++handled;
    }
}

TEST(Wait, handled_failures_of_parts_are_not_logged) {
    SimLoop loop(1);
    int handled = 0;
    ::testing::internal::CaptureStderr();
    spawn(loop, "t", handle_failures(loop, handled));
    loop.run_for(3h);
    EXPECT_EQ(handled, 1);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

Task<void> note_trace(Loop& loop, std::vector<std::string>& notes, Duration time) {
    co_await sleep_for(loop, time);
    notes.push_back(log::current_trace());
}

Task<void> work_for(Loop& loop, std::string trace, std::vector<std::string>& notes,
                    Duration time = 1s) {
    {
        const log::Scope scope(trace);
        co_await note_trace(loop, notes, time);
        co_await shielded(note_trace(loop, notes, time));
        co_await within(loop, 1min, note_trace(loop, notes, time), ApiError("TOO_LATE", {}));
        const auto apart = spawn(loop, "watcher", note_trace(loop, notes, time));
        co_await apart->wait();
        notes.push_back(log::current_trace());
    }
    co_await note_trace(loop, notes, time);
}

Task<void> fail_after(Loop& loop, Duration time) {
    co_await sleep_for(loop, time);
    throw ApiError("BROKEN", {});
}

Task<void> run_company(Loop& loop, std::vector<Task<void>> bodies, std::string& out) {
    try {
        co_await all_or_none(loop, std::move(bodies));
        out = "done";
    } catch (const ApiError& error) {
        out = error.code();
    }
}

TEST(Wait, all_or_none_waits_for_everyone) {
    SimLoop loop(1);
    std::vector<int> notes;
    std::string out;
    std::vector<Task<void>> bodies;
    bodies.push_back(sleep_then_note(loop, 2s, notes, 2));
    bodies.push_back(sleep_then_note(loop, 1s, notes, 1));
    spawn(loop, "t", run_company(loop, std::move(bodies), out));
    loop.run_for(10s);
    EXPECT_EQ(notes, (std::vector{1, 2}));
    EXPECT_EQ(out, "done");
}

TEST(Wait, all_or_none_ends_the_others_when_one_fails) {
    for (const Duration when : {Duration(0s), Duration(1s)}) {
        SimLoop loop(1);
        std::vector<int> notes;
        std::string out;
        std::vector<Task<void>> bodies;
        bodies.push_back(note_cancel(loop, notes));
        bodies.push_back(fail_after(loop, when));
        bodies.push_back(note_cancel(loop, notes));
        spawn(loop, "t", run_company(loop, std::move(bodies), out));
        loop.run_for(10s);
        EXPECT_EQ(notes, (std::vector{1, 1}));
        EXPECT_EQ(out, "BROKEN");
    }
}

Task<void> fail_now() {
    throw ApiError("BROKEN", {});
    co_return;
}

// The real loop begins a part at once: it fails before the next one is there.
TEST(Wait, all_or_none_ends_those_that_come_after_a_failure) {
    RealLoop loop(1);
    std::vector<int> notes;
    std::string out;
    const auto run = [&]() -> Task<void> {
        std::vector<Task<void>> bodies;
        bodies.push_back(fail_now());
        bodies.push_back(note_cancel(loop, notes));
        co_await run_company(loop, std::move(bodies), out);
        loop.stop();
    };
    spawn(loop, "t", run());
    loop.run();
    EXPECT_EQ(notes, std::vector{1});
    EXPECT_EQ(out, "BROKEN");
}

TEST(Context, goes_with_its_coroutine_and_with_no_other) {
    SimLoop loop(4);
    std::vector<std::string> one;
    std::vector<std::string> two;
    spawn(loop, "one", work_for(loop, "one", one));
    spawn(loop, "two", work_for(loop, "two", two));
    while (loop.step())
        EXPECT_EQ(log::context(), nullptr);
    EXPECT_EQ(one, (std::vector<std::string>{"one", "one", "one", "", "one", ""}));
    EXPECT_EQ(two, (std::vector<std::string>{"two", "two", "two", "", "two", ""}));
}

Task<void> stop_after(RealLoop& loop, std::vector<std::string>& notes) {
    co_await all(loop, [&] {
        std::vector<Task<void>> both;
        both.push_back(work_for(loop, "one", notes, 1ms));
        both.push_back(work_for(loop, "one", notes, 1ms));
        return both;
    }());
    loop.stop();
}

TEST(Context, is_kept_by_the_real_loop_which_begins_jobs_at_once) {
    RealLoop loop(1);
    std::vector<std::string> notes;
    spawn(loop, "t", stop_after(loop, notes));
    EXPECT_EQ(log::context(), nullptr);
    loop.run();
    EXPECT_EQ(std::ranges::count(notes, "one"), 8);
    EXPECT_EQ(std::ranges::count(notes, ""), 4);
}

Task<int> slow_seven(Loop& loop) {
    co_await sleep_for(loop, 1s);
    co_return 7;
}

Task<void> take_seven(Loop& loop, int& out) {
    out = co_await within(loop, 2s, slow_seven(loop), ApiError("TOO_LATE", {}));
}

TEST(Wait, within_returns_the_value_in_time) {
    SimLoop loop(1);
    int out = 0;
    spawn(loop, "t", take_seven(loop, out));
    loop.run_for(10s);
    EXPECT_EQ(out, 7);
}

Task<void> shielded_caller(Loop& loop, std::vector<int>& notes) {
    co_await shielded(sleep_then_note(loop, 2s, notes, 1));
    notes.push_back(2);
    co_await sleep_for(loop, 1s);
    notes.push_back(3);
}

TEST(Wait, shielded_runs_to_its_end_and_the_cancel_arrives_after) {
    SimLoop loop(1);
    std::vector<int> notes;
    const auto job = spawn(loop, "t", shielded_caller(loop, notes));
    loop.at(loop.now() + 1s, [job] { job->cancel(); });
    loop.run_for(10s);
    EXPECT_EQ(notes.front(), 1);
    EXPECT_TRUE(job->finished());
    EXPECT_EQ(std::ranges::count(notes, 3), 0);
}

Task<void> hold(Loop& loop, ObjectQueue& queue, std::vector<int>& notes, int note) {
    const auto lease = co_await queue.acquire("vm");
    co_await sleep_for(loop, 1s);
    notes.push_back(note);
}

TEST(Wait, object_queue_serves_one_at_a_time) {
    SimLoop loop(3);
    ObjectQueue queue(loop);
    std::vector<int> notes;
    for (int i = 0; i < 3; ++i)
        spawn(loop, "h", hold(loop, queue, notes, i));
    loop.run_for(10s);
    EXPECT_EQ(notes.size(), 3U);
    EXPECT_EQ(loop.now().time_since_epoch(), 3s);
}

TEST(Wait, a_cancelled_waiter_leaves_the_queue) {
    SimLoop loop(3);
    ObjectQueue queue(loop);
    std::vector<int> notes;
    spawn(loop, "h", hold(loop, queue, notes, 1));
    loop.run_until([] { return false; }, 10ms);
    const auto waiting = spawn(loop, "h", hold(loop, queue, notes, 2));
    spawn(loop, "h", hold(loop, queue, notes, 3));
    loop.at(loop.now() + 100ms, [waiting] { waiting->cancel(); });
    loop.run_for(10s);
    EXPECT_EQ(std::ranges::count(notes, 3), 1);
}

Task<void> undo_step(Loop& loop, std::vector<int>& notes, int note) {
    co_await sleep_for(loop, 1s);
    notes.push_back(note);
}

Task<void> fail_after_two(Loop& loop, std::vector<int>& notes) {
    co_await with_undo([&loop, &notes](Undo& undo) -> Task<void> {
        undo.push("first", [&] { return undo_step(loop, notes, 1); });
        undo.push("second", [&] { return undo_step(loop, notes, 2); });
        co_await sleep_for(loop, 1h);
    });
}

TEST(Undo, runs_newest_first_even_under_cancellation) {
    SimLoop loop(1);
    std::vector<int> notes;
    const auto job = spawn(loop, "t", fail_after_two(loop, notes));
    loop.at(loop.now() + 1s, [job] { job->cancel(); });
    loop.run_for(10s);
    EXPECT_EQ(notes, (std::vector{2, 1}));
    EXPECT_TRUE(is_cancellation(job->failure()));
}

std::uint64_t history_of(std::uint64_t seed) {
    SimLoop loop(seed);
    std::vector<int> notes;
    for (int i = 0; i < 64; ++i)
        spawn(loop, "n", sleep_then_note(loop, Duration(loop.random() % 1000), notes, i));
    loop.run_for(1s);
    return loop.history();
}

Task<void> fail_when_cancelled(Loop& loop) {
    bool cancelled = false;
    try {
        co_await sleep_for(loop, 1h);
    } catch (const boost::system::system_error&) {
        cancelled = true;
    }
    if (cancelled) throw ApiError("CONNECTION_LOST", {});
}

// Something that works for ever, and takes the failures of its rounds as they come.
Task<void> fail_in_rounds(Loop& loop, int& rounds) {
    for (;;) {
        ++rounds;
        try {
            co_await with_undo([&loop](Undo& undo) -> Task<void> {
                undo.push("wait", [&loop] { return sleep_for(loop, 1s); });
                co_await within(loop, 1h, fail_when_cancelled(loop), ApiError("LATE", {}));
            });
        } catch (const ApiError& error) {
            (void)error;  // the next round may succeed
        }
        co_await sleep_for(loop, 1s);
    }
}

TEST(Undo, keeps_a_cancel_that_the_body_turned_into_another_failure) {
    SimLoop loop(1);
    int rounds = 0;
    const auto job = spawn(loop, "rounds", fail_in_rounds(loop, rounds));
    loop.at(loop.now() + 500ms, [job] { job->cancel(); });
    EXPECT_TRUE(loop.run_for(10s));
    EXPECT_TRUE(job->finished());
    EXPECT_EQ(rounds, 1);
}

TEST(SimLoop, same_seed_same_history) {
    EXPECT_EQ(history_of(7), history_of(7));
    EXPECT_NE(history_of(7), history_of(8));
}

Task<void> take_blocking(Loop& loop, int& out) {
    out = co_await blocking(loop, [] { return 5; });
}

TEST(Wait, blocking_returns_the_value) {
    SimLoop loop(1);
    int out = 0;
    spawn(loop, "b", take_blocking(loop, out));
    loop.run_for(1s);
    EXPECT_EQ(out, 5);
}

}  // namespace
}  // namespace basalt
