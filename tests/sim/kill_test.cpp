// Every call of the list, killed at every named moment: hostd, xapi, or both. All or nothing is
// there afterwards, what was acknowledged is, and nothing is left behind.
#include <gtest/gtest.h>

#include "tests/sim/calls.hpp"
#include "tests/sim/invariants.hpp"

namespace basalt::testing {
namespace {

enum class Victim : std::uint8_t { hostd, xapi, both };

constexpr std::string_view text(Victim victim) {
    constexpr std::string_view words[] = {"hostd", "xapi", "both"};
    return words[static_cast<int>(victim)];
}

void PrintTo(Victim victim, std::ostream* out) {
    *out << text(victim);
}

using Param = std::tuple<FaultCall, Victim>;

class Killed : public ::testing::TestWithParam<Param> {};

void kill(SimPool& pool, Victim victim) {
    if (victim != Victim::xapi) pool.cut(0);
    if (victim != Victim::hostd) pool.cut(SimPool::xapi_itself);
}

// The call again, when it did not happen: whatever the kill left must not stand in its way.
void finish(SimPool& pool, const FaultCall& call, const std::vector<wire::Value>& params,
            const std::string& where) {
    try {
        pool.call(call.method, params);
    } catch (const std::exception& error) {
        ADD_FAILURE() << "asked again after " << where << ": " << error.what();
    }
    pool.pass(settling);
    EXPECT_TRUE(call.happened(pool)) << "asked again after " << where;
    EXPECT_EQ(broken_text(pool), "") << "asked again after " << where;
}

// Kills at the n-th moment; false when there are fewer.
bool kill_at(const FaultCall& call, Victim victim, int n) {
    SimPool pool(1000 + static_cast<std::uint64_t>(n));
    const std::vector<wire::Value> params = call.prepare(pool);
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "") << "before";
    int seen = 0;
    std::string where;
    pool.on_moment = [&](int who, const std::string& moment) {
        if (++seen != n) return;
        where = (who == SimPool::xapi_itself ? "xapi at " : "hostd at ") + moment;
        kill(pool, victim);
    };
    const auto pending = pool.start(call.method, params);
    pool.until([&] { return pending->done || pool.is_cut(); });
    const Duration first = Millis(pool.loop.random() % 3000);
    const Duration second = Millis(pool.loop.random() % 3000);
    if (pool.is_cut()) pool.mend(first, second);
    pool.until([&] { return pending->done; });
    pool.on_moment = nullptr;
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "") << where;
    const bool happened = call.happened(pool);
    if (pending->acknowledged) {
        EXPECT_TRUE(happened) << "acknowledged and lost at " << where;
    } else if (victim == Victim::hostd) {
        EXPECT_FALSE(happened) << "refused and done at " << where;
    }
    if (!happened) finish(pool, call, params, where);
    return !where.empty();
}

TEST_P(Killed, at_every_moment) {
    const auto& [call, victim] = GetParam();
    int moments = 0;
    while (!HasFailure() && kill_at(call, victim, moments + 1))
        ++moments;
    EXPECT_GE(moments, 4);
    RecordProperty("moments", moments);
}

INSTANTIATE_TEST_SUITE_P(Calls, Killed,
                         ::testing::Combine(::testing::ValuesIn(fault_calls()),
                                            ::testing::Values(Victim::hostd, Victim::xapi,
                                                              Victim::both)),
                         [](const auto& each) {
                             return std::get<0>(each.param).name + "_" +
                                    std::string(text(std::get<1>(each.param)));
                         });

}  // namespace
}  // namespace basalt::testing
