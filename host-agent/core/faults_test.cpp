// Every plan is killed at every named step, and cancelled at every turn of the loop: nothing may
// be left behind, and no guest may exist twice.
#include <gtest/gtest.h>

#include "host-agent/testing/rig.hpp"

namespace basalt::agent::testing {
namespace {

using Json = nlohmann::json;

struct Case {
    std::string name;
    std::string verb;
    Json args;
    bool running;  // whether the VM runs before
    int faults = 0;
};

std::vector<Case> cases() {
    const DiskRef image{"sr", "image", "image"};
    VmSpec changed = web();
    changed.disks.push_back(data_disk("xvdb"));
    return {
        {"start", "vm_start", {{"spec", web()}}, false},
        {"failing_start", "vm_start", {{"spec", web()}}, false, 1},
        {"hard_shutdown", "vm_shutdown", {{"uuid", "web"}, {"method", "hard"}}, true},
        {"clean_shutdown", "vm_shutdown", {{"uuid", "web"}, {"method", "clean"}}, true},
        {"reboot", "vm_reboot", {{"uuid", "web"}, {"method", "clean"}, {"spec", changed}}, true},
        {"suspend", "vm_suspend", {{"uuid", "web"}, {"into", image}}, true},
        {"resume", "vm_resume", {{"spec", web()}, {"from", image}}, false},
        {"disk_plug", "disk_plug", {{"uuid", "web"}, {"disk", data_disk("xvdb")}}, true},
        {"disk_unplug", "disk_unplug", {{"uuid", "web"}, {"device", "xvda"}}, true},
        {"nic_plug", "nic_plug", {{"uuid", "web"}, {"nic", nic_of(1)}}, true},
        {"nic_change", "nic_change", {{"uuid", "web"}, {"nic", nic_of(0)}}, true},
    };
}

void prepare(Rig& rig, const Case& which) {
    rig.machine.images["image"] = "saved";
    if (which.running) {
        EXPECT_EQ(rig.start(), "");
    }
    if (which.faults > 0) rig.machine.faults["set_running"] = which.faults;
}

class Faults : public ::testing::TestWithParam<Case> {};

// Kills at the n-th probe; false when there are fewer.
bool kill_at(const Case& which, int n, std::uint64_t seed) {
    Rig rig(seed);
    prepare(rig, which);
    int seen = 0;
    std::string where;
    rig.agent->runner().probe = [&](const std::string&, const std::string& step,
                                    Runner::Moment moment) {
        if (++seen != n) return;
        where = step + "/" + std::to_string(static_cast<int>(moment));
        rig.agent->runner().stop_now();
    };
    rig.ask(which.verb, which.args, "op");
    rig.loop.run_until([&] { return seen >= n; }, 10min);
    rig.pass(5s);
    rig.kill();
    rig.boot();
    rig.pass(2min);
    EXPECT_EQ(rig.inconsistency(), "") << "killed at " << where;
    const std::string answer = rig.run(which.verb, which.args, "op");
    EXPECT_EQ(rig.inconsistency(), "") << "asked again after " << where << ": " << answer;
    if (!rig.machine.domains.empty()) {
        EXPECT_EQ(rig.shutdown(), "") << "killed at " << where;
    }
    EXPECT_TRUE(rig.machine.idle()) << "killed at " << where;
    return !where.empty();
}

TEST_P(Faults, killed_at_every_step) {
    int probes = 0;
    while (kill_at(GetParam(), probes + 1, 100 + static_cast<std::uint64_t>(probes)))
        ++probes;
    EXPECT_GE(probes, 6);
}

// Cancels after n turns of the loop; false when the operation was over by then.
bool cancel_after(const Case& which, int n, std::uint64_t seed) {
    Rig rig(seed);
    prepare(rig, which);
    const bool before = !rig.machine.domains.empty();
    const auto call = rig.ask(which.verb, which.args, "op");
    for (int i = 0; i < n && !call->done; ++i)
        rig.loop.step();
    const bool in_time = !call->done;
    call->job->cancel();
    rig.loop.run_until([&] { return call->done; }, 1h);
    EXPECT_TRUE(call->done) << "cancelled after " << n;
    rig.pass(2min);
    EXPECT_EQ(rig.inconsistency(), "") << "cancelled after " << n << ": " << call->error;
    if (call->error == "cancelled" && which.verb != "vm_reboot" && which.verb != "vm_shutdown") {
        EXPECT_EQ(!rig.machine.domains.empty(), before) << "cancelled after " << n;
    }
    if (!rig.machine.domains.empty()) {
        EXPECT_EQ(rig.shutdown(), "");
    }
    EXPECT_TRUE(rig.machine.idle()) << "cancelled after " << n;
    return in_time;
}

TEST_P(Faults, cancelled_at_every_turn) {
    int turns = 0;
    while (cancel_after(GetParam(), turns, 500) && turns < 2000)
        ++turns;
    EXPECT_GE(turns, 10);
    EXPECT_LT(turns, 2000);
}

INSTANTIATE_TEST_SUITE_P(Verbs, Faults, ::testing::ValuesIn(cases()),
                         [](const auto& each) { return each.param.name; });

TEST(FaultsOfAll, the_same_seed_is_the_same_history) {
    const auto history = [](std::uint64_t seed) {
        Rig rig(seed);
        rig.start("a");
        rig.start("b");
        rig.kill();
        rig.boot();
        rig.shutdown("a");
        return rig.loop.history();
    };
    EXPECT_EQ(history(1), history(1));
    EXPECT_NE(history(1), history(2));
}

}  // namespace
}  // namespace basalt::agent::testing
