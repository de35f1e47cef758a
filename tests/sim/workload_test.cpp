#include "tests/sim/workload.hpp"

#include <gtest/gtest.h>

namespace basalt::testing {
namespace {

TEST(Workload, leaves_a_pool_as_its_records_say) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Workload work(seed, {.hosts = 4, .steps = 120});
        EXPECT_EQ(work.run(), "") << "seed " << seed;
        const auto& outcomes = work.outcomes();
        ASSERT_TRUE(outcomes.contains("success"));
        EXPECT_GE(outcomes.at("success"), 20) << "seed " << seed;
    }
}

std::uint64_t history_of(std::uint64_t seed) {
    Workload work(seed, {.hosts = 4, .steps = 80});
    work.run();
    return work.history();
}

TEST(Workload, the_same_seed_is_the_same_history) {
    EXPECT_EQ(history_of(21), history_of(21));
    EXPECT_NE(history_of(21), history_of(22));
}

}  // namespace
}  // namespace basalt::testing
