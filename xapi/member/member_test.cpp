#include <gtest/gtest.h>

#include "base/sim_loop.hpp"
#include "idl/errors.hpp"
#include "xapi/member/emergency_calls.hpp"
#include "xapi/member/local_sessions.hpp"
#include "xapi/member/watch.hpp"

namespace basalt::member {
namespace {

std::string code_of(const std::optional<ApiError>& error) {
    return error ? error->code() : "there";
}

TEST(Watch, silence_of_ten_seconds_cuts_off_and_a_word_ends_it) {
    CoordinatorWatch watch;
    const Time start{};
    EXPECT_EQ(code_of(watch.why_cut_off(start)), "HOST_STILL_BOOTING") << "nothing heard yet";
    watch.heard(start);
    EXPECT_EQ(code_of(watch.why_cut_off(start + 9s)), "there");
    EXPECT_EQ(code_of(watch.why_cut_off(start + 10s)), "HOST_STILL_BOOTING");
    watch.heard(start + 60s);
    EXPECT_EQ(code_of(watch.why_cut_off(start + 61s)), "there");
}

TEST(Watch, what_the_coordinator_says_counts_at_once) {
    CoordinatorWatch watch;
    const Time start{};
    watch.heard(start);
    watch.refused(err::host_unknown_to_master("uuid"));
    EXPECT_EQ(code_of(watch.why_cut_off(start + 1s)), "HOST_UNKNOWN_TO_MASTER");
    EXPECT_EQ(code_of(watch.why_cut_off(start + 60s)), "HOST_UNKNOWN_TO_MASTER");
    watch.heard(start + 61s);
    EXPECT_EQ(code_of(watch.why_cut_off(start + 62s)), "there");
}

TEST(LocalSessions, end_by_logout_disuse_or_crowd) {
    SimLoop loop(1);
    LocalSessions sessions(loop);
    const std::string one = sessions.open("root");
    EXPECT_TRUE(one.starts_with("OpaqueRef:"));
    EXPECT_EQ(sessions.user_of(one), "root");
    EXPECT_EQ(sessions.user_of("OpaqueRef:other"), std::nullopt);
    sessions.close(one);
    EXPECT_EQ(sessions.user_of(one), std::nullopt);

    const std::string idle = sessions.open("root");
    spawn(loop, "wait", sleep_for(loop, std::chrono::hours(25)));
    loop.run_for(std::chrono::hours(26));
    EXPECT_EQ(sessions.user_of(idle), std::nullopt);

    const std::string first = sessions.open("root");
    spawn(loop, "wait", sleep_for(loop, 1s));
    loop.run_for(2s);
    for (std::size_t i = 1; i <= LocalSessions::sessions_max; ++i)
        sessions.open("root");
    EXPECT_EQ(sessions.count(), LocalSessions::sessions_max);
    EXPECT_EQ(sessions.user_of(first), std::nullopt);
}

TEST(EmergencyCalls, are_those_of_the_data_model) {
    EXPECT_NE(EmergencyCalls::find("host.is_in_emergency_mode"), nullptr);
    EXPECT_NE(EmergencyCalls::find("session.slave_local_login_with_password"), nullptr);
    EXPECT_EQ(EmergencyCalls::find("session.login_with_password"), nullptr);
    EXPECT_EQ(EmergencyCalls::find("VM.start"), nullptr);
    EXPECT_EQ(EmergencyCalls::find("VM.fly"), nullptr);
    std::size_t count = 0;
    for (const xenapi::ClassInfo& cls : xenapi::classes())
        for (const xenapi::MessageInfo& message : cls.messages)
            if (message.where == xenapi::Where::emergency) ++count;
    EXPECT_EQ(count, 23U);
}

}  // namespace
}  // namespace basalt::member
