// Rules about guests beside each other: memory, processors, order, schedules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "xapi/rules/appliance_ops.hpp"
#include "xapi/rules/memory_share.hpp"
#include "xapi/rules/schedule.hpp"
#include "xapi/rules/vcpu_params.hpp"

namespace basalt::rules {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t mib = 1024 * 1024;

struct Sharing {
    const char* name;
    std::vector<MemoryClaim> claims_mib;
    std::int64_t available_mib;
    std::vector<std::int64_t> shares_mib;
};

void PrintTo(const Sharing& one, std::ostream* out) {
    *out << one.name;
}

class MemoryShare : public testing::TestWithParam<Sharing> {};

TEST_P(MemoryShare, is_fair) {
    std::vector<MemoryClaim> claims;
    for (const MemoryClaim& claim : GetParam().claims_mib)
        claims.push_back({claim.least * mib, claim.most * mib});
    std::vector<std::int64_t> shares = share_memory(claims, GetParam().available_mib * mib);
    std::int64_t total = 0;
    for (std::int64_t& share : shares) {
        total += share;
        EXPECT_EQ(share % mib, 0);
        share /= mib;
    }
    EXPECT_EQ(shares, GetParam().shares_mib);
    std::int64_t least = 0;
    for (const MemoryClaim& claim : claims)
        least += claim.least;
    EXPECT_LE(total, std::max(least, GetParam().available_mib * mib));
}

INSTANTIATE_TEST_SUITE_P(
    Hosts, MemoryShare,
    testing::Values(Sharing{"nobody", {}, 100, {}},
                    Sharing{"room for all", {{100, 200}, {50, 300}}, 1000, {200, 300}},
                    Sharing{"just room for all", {{100, 200}, {50, 300}}, 500, {200, 300}},
                    Sharing{"half of the spread", {{100, 200}, {100, 300}}, 350, {150, 200}},
                    Sharing{"only the leasts", {{100, 200}, {100, 300}}, 200, {100, 100}},
                    Sharing{"not even the leasts", {{100, 200}, {100, 300}}, 10, {100, 100}},
                    Sharing{"one cannot move", {{400, 400}, {100, 300}}, 600, {400, 200}},
                    Sharing{"nobody can move", {{400, 400}, {100, 100}}, 5000, {400, 100}},
                    Sharing{"rounded down", {{10, 20}, {10, 20}, {10, 20}}, 40, {13, 13, 13}}));

TEST(MemoryShare, a_balloon_need_not_be_exact) {
    EXPECT_TRUE(has_reached(256 * mib, 256 * mib));
    EXPECT_TRUE(has_reached(100 * mib, 256 * mib));
    EXPECT_TRUE(has_reached(260 * mib, 256 * mib));
    EXPECT_FALSE(has_reached(261 * mib, 256 * mib));
    EXPECT_TRUE(has_reached(1009 * mib, 1000 * mib));
}

std::string code_of(const std::string& key, const std::string& value) {
    VcpuParams params;
    try {
        take_vcpu_param(params, key, value);
    } catch (const ApiError& error) {
        return error.code();
    }
    return "";
}

TEST(VcpuParams, are_parsed_or_refused) {
    VcpuParams params;
    take_vcpu_param(params, "weight", "512");
    take_vcpu_param(params, "cap", "150");
    take_vcpu_param(params, "mask", "7,0,2-4,3");
    take_vcpu_param(params, "colour", "blue");
    EXPECT_EQ(params.weight, 512);
    EXPECT_EQ(params.cap_percent, 150);
    EXPECT_THAT(params.mask, ElementsAre(0, 2, 3, 4, 7));
    for (const char* weight : {"", "0", "65536", "-1", "1x", " 1", "many"})
        EXPECT_EQ(code_of("weight", weight), "INVALID_VALUE") << weight;
    for (const char* cap : {"", "-1", "50%"})
        EXPECT_EQ(code_of("cap", cap), "INVALID_VALUE") << cap;
    for (const char* mask : {"", ",", "1,", "3-1", "a", "-1", "1-", "4096", "0-1-2"})
        EXPECT_EQ(code_of("mask", mask), "INVALID_VALUE") << mask;
}

TEST(Appliance, members_come_in_waves) {
    const std::vector<Member> members = {
        {"web", 2, 5, 1}, {"db", 0, 30, 0}, {"mail", 2, 9, 3}, {"log", 7, 60, 10}};
    const auto starts = start_waves(members);
    ASSERT_EQ(starts.size(), 3U);
    EXPECT_EQ(starts[0], (Wave{{"db"}, 30}));
    EXPECT_EQ(starts[1], (Wave{{"web", "mail"}, 9}));
    EXPECT_EQ(starts[2], (Wave{{"log"}, 0}));  // nobody waits after the last
    const auto stops = shutdown_waves(members);
    ASSERT_EQ(stops.size(), 3U);
    EXPECT_EQ(stops[0], (Wave{{"log"}, 10}));
    EXPECT_EQ(stops[1], (Wave{{"web", "mail"}, 3}));
    EXPECT_EQ(stops[2], (Wave{{"db"}, 0}));
    EXPECT_THAT(start_waves({}), IsEmpty());
}

TEST(Appliance, allows_what_would_do_something) {
    using enum xenapi::VmApplianceOperation;
    ApplianceView view{.ref = "a"};
    EXPECT_THAT(allowed_operations(view), IsEmpty());
    view.some_halted = true;
    EXPECT_THAT(allowed_operations(view), ElementsAre(start));
    view.some_live = true;
    EXPECT_THAT(allowed_operations(view),
                ElementsAre(start, clean_shutdown, hard_shutdown, shutdown));
    view = {.ref = "a", .some_sleep = true};
    EXPECT_THAT(allowed_operations(view), ElementsAre(hard_shutdown, shutdown));
    view.current["task"] = hard_shutdown;
    EXPECT_THAT(allowed_operations(view), IsEmpty());
    EXPECT_EQ(why_not(view, start)->code(), "OTHER_OPERATION_IN_PROGRESS");
}

// 1 January 2026 was a Thursday.
constexpr std::int64_t thursday = 1767225600;
constexpr std::int64_t hour = 3600;
constexpr std::int64_t day = 24 * hour;

TEST(Schedule, the_latest_moment_that_is_due) {
    using enum xenapi::VmssFrequency;
    const std::map<std::string, std::string> quarter = {{"min", "15"}};
    EXPECT_EQ(latest_due(hourly, quarter, thursday + hour), thursday + 900);
    EXPECT_EQ(latest_due(hourly, quarter, thursday + hour + 900), thursday + hour + 900);
    EXPECT_EQ(latest_due(hourly, quarter, thursday), thursday - hour + 900);

    const std::map<std::string, std::string> night = {{"hour", "23"}, {"min", "30"}};
    EXPECT_EQ(latest_due(daily, night, thursday + day), thursday + 23 * hour + 1800);
    EXPECT_EQ(latest_due(daily, night, thursday), thursday - 1800);

    const std::map<std::string, std::string> week = {
        {"hour", "1"}, {"min", "0"}, {"days", "Tuesday, Saturday"}};
    EXPECT_EQ(latest_due(weekly, week, thursday), thursday - 2 * day + hour);
    EXPECT_EQ(latest_due(weekly, week, thursday + 2 * day), thursday - 2 * day + hour);
    EXPECT_EQ(latest_due(weekly, week, thursday + 2 * day + hour), thursday + 2 * day + hour);
    EXPECT_EQ(latest_due(weekly, {}, thursday), thursday - 3 * day);  // a Monday at midnight
    EXPECT_EQ(latest_due(weekly, {{"days", "someday"}}, thursday), thursday - 3 * day);
}

TEST(Schedule, entries_are_checked) {
    const auto code = [](const char* key, const char* value) -> std::string {
        try {
            require_schedule_entry(key, value);
        } catch (const ApiError& error) {
            return error.code();
        }
        return "";
    };
    EXPECT_EQ(code("min", "45"), "");
    EXPECT_EQ(code("hour", "0"), "");
    EXPECT_EQ(code("hour", "23"), "");
    EXPECT_EQ(code("days", "monday,Friday"), "");
    for (const auto& [key, value] : {std::pair{"min", "7"},
                                     {"min", ""},
                                     {"hour", "24"},
                                     {"hour", "-1"},
                                     {"days", ""},
                                     {"days", "monday,"},
                                     {"days", "humpday"},
                                     {"year", "2026"}})
        EXPECT_EQ(code(key, value), "INVALID_VALUE") << key << "=" << value;
}

}  // namespace
}  // namespace basalt::rules
