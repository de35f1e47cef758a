// Client programs that are entered, and how much they may ask. Under virtual time.
#include <gtest/gtest.h>

#include <algorithm>

#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/callers.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Ref;

class Callers : public ::testing::Test {
  protected:
    Callers() : pool_(13) {}

    std::string code(const std::string& method, std::vector<Value> args = {}) {
        return code_of([&] { pool_.call(method, std::move(args)); });
    }

    static Value caller_record(const char* address, const char* program) {
        wire::Object record;
        record.push_back({"client_ip", Value(address)});
        record.push_back({"user_agent", Value(program)});
        return Value(std::move(record));
    }

    static Value limit_record(double burst, double rate) {
        wire::Object record;
        record.push_back({"burst_size", Value(burst)});
        record.push_back({"fill_rate", Value(rate)});
        return Value(std::move(record));
    }

    Ref<xenapi::Caller> enter(const char* address, const char* program) {
        return pool_.get<Ref<xenapi::Caller>>("Caller.create", {caller_record(address, program)});
    }

    /// Seconds that so many calls made at once have to wait, one after the other.
    std::vector<int> waits(int calls, const char* address, const char* program) {
        std::vector<int> seconds;
        const Time began = pool_.loop.now();
        std::vector<std::shared_ptr<Job>> jobs;
        for (int i = 0; i < calls; ++i)
            jobs.push_back(spawn(pool_.loop, "call",
                                 [](SimPool& pool, std::string from, std::string agent, Time start,
                                    std::vector<int>& out) -> Task<void> {
                                     co_await pool.xapi->callers().admit(from, agent);
                                     const auto took = pool.loop.now() - start;
                                     out.push_back(static_cast<int>(
                                         std::chrono::round<std::chrono::seconds>(took).count()));
                                 }(pool_, address, program, began, seconds)));
        pool_.until([&] {
            return std::ranges::all_of(jobs, [](const auto& job) { return job->finished(); });
        });
        return seconds;
    }

    SimPool pool_;
};

TEST_F(Callers, the_best_fitting_entry_counts) {
    const auto program = enter("", "backup");
    const auto address = enter("192.0.2.1", "");
    const auto both = enter("192.0.2.1", "backup");
    const core::Callers& callers = pool_.xapi->callers();
    EXPECT_EQ(callers.find("192.0.2.9", "backup/2.1 (linux)"), program);
    EXPECT_EQ(callers.find("192.0.2.1", "browser"), address);
    EXPECT_EQ(callers.find("192.0.2.1", "backup"), both);
    EXPECT_TRUE(callers.find("192.0.2.9", "backups/1").null());
    EXPECT_EQ(code("Caller.create", {caller_record("", "")}), "INVALID_VALUE");
    EXPECT_EQ(code("Caller.create", {caller_record("", "backup")}), "INVALID_VALUE");
    pool_.call("Caller.add_group", {of(program), Value("nightly")});
    pool_.call("Caller.add_group", {of(both), Value("nightly")});
    EXPECT_EQ(waits(3, "192.0.2.9", "backup/1"), (std::vector{0, 0, 0}));
    EXPECT_EQ(waits(1, "192.0.2.1", "backup/1"), std::vector{0});
    EXPECT_EQ(waits(1, "192.0.2.7", "unknown"), std::vector{0});
    EXPECT_EQ(pool_.get<std::int64_t>("Caller.query_call_count", {of(program)}), 3);
    EXPECT_EQ(pool_.get<std::int64_t>("Caller.query_group_call_count", {Value("nightly")}), 4);
    EXPECT_EQ(pool_.get<double>("Caller.query_token_usage", {of(program)}), 0);
    EXPECT_GT(pool_.db().get(program).last_access.seconds, 0);
    EXPECT_EQ(pool_.db().get(address).last_access.seconds, 0);
    pool_.call("Caller.remove_group", {of(both), Value("nightly")});
    EXPECT_EQ(pool_.get<std::int64_t>("Caller.query_group_call_count", {Value("nightly")}), 3);
    using Rows = std::vector<std::vector<std::string>>;
    const Rows rows = pool_.get<Rows>("Caller.query_all_usage");
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_TRUE(std::ranges::contains(
        rows, std::vector<std::string>{pool_.db().get(program).uuid, "", "", "backup", "3", "0"}));
    pool_.call("Caller.destroy", {of(both)});
    EXPECT_EQ(callers.find("192.0.2.1", "backup"), address);
}

TEST_F(Callers, who_is_bounded_waits_for_tokens) {
    EXPECT_EQ(code("Rate_limit.create", {limit_record(0.5, 1)}), "INVALID_VALUE");
    EXPECT_EQ(code("Rate_limit.create", {limit_record(2, 0)}), "INVALID_VALUE");
    const auto limit =
        pool_.get<Ref<xenapi::RateLimit>>("Rate_limit.create", {limit_record(2, 0.5)});
    const auto first = enter("192.0.2.1", "");
    const auto second = enter("192.0.2.2", "");
    for (const auto caller : {first, second})
        pool_.call("Rate_limit.add_caller", {of(limit), of(caller)});
    EXPECT_EQ(pool_.db().get(limit).callers.size(), 2U);
    // Two at once, then one every two seconds; the other one shares the bucket.
    EXPECT_EQ(waits(4, "192.0.2.1", "x"), (std::vector{0, 0, 2, 4}));
    EXPECT_EQ(waits(1, "192.0.2.2", "x"), std::vector{2});
    EXPECT_EQ(pool_.get<double>("Caller.query_token_usage", {of(first)}), 4);
    EXPECT_EQ(waits(3, "192.0.2.3", "x"), (std::vector{0, 0, 0}));

    EXPECT_EQ(code("Rate_limit.set_fill_rate", {of(limit), Value(-1.0)}), "INVALID_VALUE");
    pool_.call("Rate_limit.set_burst_size", {of(limit), Value(3.0)});
    pool_.call("Rate_limit.set_fill_rate", {of(limit), Value(1.0)});
    EXPECT_EQ(waits(5, "192.0.2.1", "x"), (std::vector{0, 0, 0, 1, 2}));
    pool_.call("Rate_limit.remove_caller", {of(limit), of(first)});
    EXPECT_EQ(waits(3, "192.0.2.1", "x"), (std::vector{0, 0, 0}));
    pool_.call("Rate_limit.destroy", {of(limit)});
    EXPECT_TRUE(pool_.db().get(second).rate_limit.null());
    EXPECT_EQ(waits(3, "192.0.2.2", "x"), (std::vector{0, 0, 0}));
}

}  // namespace
}  // namespace basalt::testing
