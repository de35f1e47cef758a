// The agent on a machine of plain data: what it promises when all goes well, and when it does not.
#include <gtest/gtest.h>

#include "host-agent/testing/rig.hpp"

namespace basalt::agent::testing {
namespace {

using Json = nlohmann::json;

TEST(Agent, starts_and_shuts_down_a_vm) {
    Rig rig(1);
    EXPECT_EQ(rig.start(), "");
    EXPECT_EQ(rig.inconsistency(), "");
    ASSERT_EQ(rig.machine.domains.size(), 1U);
    EXPECT_TRUE(rig.machine.running.begin()->second);
    EXPECT_EQ(rig.shutdown("web", Method::clean), "");
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_TRUE(rig.told.empty()) << "what xapi asked for is not told as an event";
    EXPECT_EQ(rig.shutdown(), "VM_BAD_POWER_STATE");
}

TEST(Agent, the_same_operation_acts_once_and_its_result_is_kept) {
    Rig rig(2);
    const Json args = {{"spec", web()}, {"paused", false}};
    const auto first = rig.ask("vm_start", args, "op");
    const auto second = rig.ask("vm_start", args, "op");
    rig.pass(1s);
    EXPECT_EQ(first->result.at("domid"), 1);
    EXPECT_EQ(second->result, first->result);
    rig.kill();
    rig.boot();
    const auto third = rig.ask("vm_start", args, "op");
    rig.pass(1s);
    EXPECT_EQ(third->result, first->result);
    EXPECT_EQ(rig.run("vm_start", {{"spec", web("other")}}, "op"), "INTERNAL_ERROR");
    EXPECT_EQ(rig.run("acknowledge", {{"operations", {"op"}}}, ""), "");
    EXPECT_EQ(rig.run("vm_start", args, "op"), "VM_BAD_POWER_STATE") << "it is a new one now";
    EXPECT_EQ(rig.machine.last_domid, 1);
}

TEST(Agent, lower_terms_are_refused_also_after_a_restart) {
    Rig rig(3);
    const auto apply = [&](std::int64_t term, const char* id) {
        return rig.run("network_apply", {{"want", NetworkWant{}}, {"term", term}}, id);
    };
    EXPECT_EQ(apply(7, "a"), "");
    EXPECT_EQ(apply(6, "b"), "INTERNAL_ERROR");
    rig.kill();
    rig.boot();
    EXPECT_EQ(rig.network.applied, 2) << "the network is applied again at the start";
    EXPECT_EQ(apply(6, "c"), "INTERNAL_ERROR");
    EXPECT_EQ(apply(8, "d"), "");
}

TEST(Agent, a_coordinator_that_takes_over_ends_and_learns_what_others_began) {
    Rig rig(14);
    EXPECT_EQ(rig.run("vm_start", {{"spec", web("one")}, {"term", 3}}, "ended"), "");
    const auto begun = rig.ask("vm_start", {{"spec", web("two")}, {"term", 3}}, "begun");
    rig.loop.run_until([&] { return rig.machine.ports.size() == 2; }, 1min);
    const auto resolved = rig.ask("resolve", {{"term", 4}}, "");
    rig.pass(1min);
    EXPECT_EQ(begun->error, "cancelled");
    EXPECT_EQ(rig.machine.domains.size(), 1U);
    EXPECT_EQ(rig.inconsistency(), "");
    ASSERT_EQ(resolved->error, "");
    std::map<std::string, bool> ends;
    for (const OperationEnd& end : resolved->result.get<std::vector<OperationEnd>>()) {
        EXPECT_EQ(end.verb, "vm_start");
        EXPECT_EQ(end.vm, end.id == "ended" ? "one" : "two");
        ends[end.id] = end.done;
    }
    EXPECT_EQ(ends, (std::map<std::string, bool>{{"begun", false}, {"ended", true}}));
    EXPECT_EQ(rig.run("vm_start", {{"spec", web("two")}, {"term", 3}}, "late"), "INTERNAL_ERROR");
    EXPECT_EQ(rig.run("acknowledge", {{"operations", {"begun", "ended"}}}, ""), "");
    EXPECT_TRUE(rig.agent->journal().kept().empty());
}

TEST(Agent, a_fault_in_any_verb_undoes_the_start) {
    for (const char* verb : {"open_disk", "add_port", "create", "build", "set_running"}) {
        Rig rig(4);
        rig.machine.faults[verb] = 1;
        EXPECT_EQ(rig.start(), "INTERNAL_ERROR") << verb;
        EXPECT_TRUE(rig.machine.idle()) << verb;
        EXPECT_EQ(rig.inconsistency(), "") << verb;
        EXPECT_EQ(rig.start(), "") << verb;
    }
}

TEST(Agent, an_undo_that_fails_is_retried_and_blocks_the_next_start) {
    Rig rig(5);
    rig.machine.faults = {{"set_running", 1}, {"destroy", 3}};
    EXPECT_EQ(rig.start(), "INTERNAL_ERROR");
    EXPECT_FALSE(rig.agent->journal().leftovers().empty());
    EXPECT_EQ(rig.machine.domains.size(), 1U);
    EXPECT_EQ(rig.machine.open.size(), 1U) << "no disk is closed under the domain";
    EXPECT_NE(rig.start(), "") << "never two of one guest";
    EXPECT_EQ(rig.machine.last_domid, 1);
    rig.kill();
    rig.boot();
    rig.pass(2min);
    EXPECT_TRUE(rig.machine.domains.empty());
    EXPECT_TRUE(rig.agent->journal().leftovers().empty());
    EXPECT_EQ(rig.start(), "");
    EXPECT_EQ(rig.inconsistency(), "");
}

TEST(Agent, a_guest_that_does_not_listen_times_out_and_runs_on) {
    Rig rig(6);
    rig.start();
    rig.machine.deaf.insert("web");
    EXPECT_EQ(rig.shutdown("web", Method::clean), "VM_SHUTDOWN_TIMEOUT");
    EXPECT_EQ(rig.inconsistency(), "");
    EXPECT_EQ(rig.machine.domains.size(), 1U);
}

TEST(Agent, reboots_with_new_settings) {
    Rig rig(7);
    rig.start();
    for (const Method method : {Method::hard, Method::clean}) {
        VmSpec changed = web();
        changed.memory_bytes *= method == Method::hard ? 2 : 3;
        changed.disks.push_back(data_disk(method == Method::hard ? "xvdb" : "xvdc"));
        const Json args = {{"uuid", "web"}, {"method", method}, {"spec", changed}};
        EXPECT_EQ(rig.run("vm_reboot", args, std::string(text(method))), "");
        EXPECT_EQ(rig.inconsistency(), "");
        EXPECT_EQ(rig.machine.domains.rbegin()->second.spec, changed);
        EXPECT_EQ(rig.machine.domains.size(), 1U);
    }
    EXPECT_TRUE(rig.told.empty() || rig.told.back().power == DomainPower::running);
}

TEST(Agent, a_rebuild_that_fails_leaves_nothing_and_is_told) {
    Rig rig(8);
    rig.start();
    rig.machine.faults["create"] = 1;
    const Json args = {{"uuid", "web"}, {"method", "hard"}};
    EXPECT_EQ(rig.run("vm_reboot", args, "r"), "INTERNAL_ERROR");
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_EQ(rig.inconsistency(), "");
    ASSERT_EQ(rig.told.size(), 1U);
    EXPECT_EQ(rig.told[0].power, DomainPower::halted);
}

TEST(Agent, suspends_and_resumes) {
    Rig rig(9);
    rig.start();
    const DiskRef image{"sr", "image", "image"};
    EXPECT_EQ(rig.run("vm_suspend", {{"uuid", "web"}, {"into", image}}, "s"), "");
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_EQ(rig.run("vm_resume", {{"spec", web()}, {"from", image}}, "r"), "");
    EXPECT_EQ(rig.inconsistency(), "");
    EXPECT_EQ(rig.machine.domains.size(), 1U);
}

TEST(Agent, a_suspend_that_fails_lets_the_guest_run_on) {
    Rig rig(10);
    rig.start();
    rig.machine.faults["save more"] = 1;
    const DiskRef image{"sr", "image", "image"};
    EXPECT_EQ(rig.run("vm_suspend", {{"uuid", "web"}, {"into", image}}, "s"), "INTERNAL_ERROR");
    EXPECT_EQ(rig.inconsistency(), "");
    EXPECT_TRUE(rig.machine.running.begin()->second);
}

NicSpec locked_nic_of(int device) {
    NicSpec nic = nic_of(device);
    nic.locked = true;
    nic.ipv4 = {"192.0.2.1"};
    return nic;
}

TEST(Agent, a_changed_nic_is_remembered_so) {
    Rig rig(13);
    rig.start();
    EXPECT_EQ(rig.run("nic_change", {{"uuid", "web"}, {"nic", locked_nic_of(0)}}, "c"), "");
    EXPECT_EQ(rig.agent->guests().have("web").spec->nics, std::vector{locked_nic_of(0)});
    rig.machine.faults["add_port"] = 1;
    EXPECT_NE(rig.run("nic_change", {{"uuid", "web"}, {"nic", nic_of(0)}}, "d"), "");
    EXPECT_EQ(rig.inconsistency(), "");
    EXPECT_EQ(rig.agent->guests().have("web").spec->nics, std::vector{locked_nic_of(0)});
}

TEST(Agent, interfaces_that_come_with_their_domain_are_connected_before_it_runs) {
    for (const char* verb : {"", "open_disk", "create", "build", "add_port", "set_running"}) {
        Rig rig(14);
        rig.machine.makes_interfaces = true;
        if (*verb != 0) {
            rig.machine.faults[verb] = 1;
            EXPECT_EQ(rig.start(), "INTERNAL_ERROR") << verb;
            EXPECT_TRUE(rig.machine.idle()) << verb;
        }
        EXPECT_EQ(rig.start(), "") << verb;
        EXPECT_EQ(rig.inconsistency(), "") << verb;
        EXPECT_EQ(rig.machine.ports.size(), 1U) << verb;

        rig.machine.faults["add_port"] = 1;
        const Json plug = {{"uuid", "web"}, {"nic", nic_of(1)}};
        EXPECT_EQ(rig.run("nic_plug", plug, "p"), "INTERNAL_ERROR") << verb;
        EXPECT_EQ(rig.inconsistency(), "") << verb;
        EXPECT_EQ(rig.run("nic_plug", plug, "q"), "") << verb;
        EXPECT_EQ(rig.machine.ports.size(), 2U) << verb;
        EXPECT_EQ(rig.run("nic_change", {{"uuid", "web"}, {"nic", locked_nic_of(1)}}, "c"), "");
        EXPECT_EQ(rig.shutdown(), "") << verb;
        EXPECT_TRUE(rig.machine.idle()) << verb;
        EXPECT_TRUE(rig.machine.broken.empty()) << verb;
    }
}

TEST(Agent, plugs_and_unplugs) {
    Rig rig(11);
    rig.start();
    const DiskRef medium{"iso", "medium", "medium"};
    const std::vector<std::pair<std::string, Json>> calls = {
        {"disk_plug", {{"disk", data_disk("xvdb")}}},
        {"nic_plug", {{"nic", nic_of(1)}}},
        {"nic_change", {{"nic", locked_nic_of(1)}}},
        {"disk_insert", {{"device", "xvdd"}, {"disk", medium}}},
        {"disk_eject", {{"device", "xvdd"}}},
        {"disk_unplug", {{"device", "xvdb"}, {"force", false}}},
        {"nic_unplug", {{"device", 1}, {"force", false}}},
    };
    for (const auto& [verb, args] : calls) {
        Json all = args;
        all["uuid"] = "web";
        EXPECT_EQ(rig.run(verb, all, verb), "") << verb;
        EXPECT_EQ(rig.inconsistency(), "") << verb;
    }
    VmSpec spec = web();
    EXPECT_EQ(rig.agent->guests().have("web").spec->disks.size(), spec.disks.size());
    EXPECT_EQ(rig.agent->guests().have("web").spec->nics, spec.nics);
}

TEST(Agent, releases_a_guest_that_shut_itself_down) {
    Rig rig(12);
    rig.start();
    rig.machine.guest_ends("web", HaltReason::shutdown);
    rig.pass(5s);
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_EQ(rig.inconsistency(), "");
    ASSERT_EQ(rig.told.size(), 1U);
    EXPECT_EQ(rig.told[0].power, DomainPower::halted);
    EXPECT_EQ(rig.told[0].reason, HaltReason::shutdown);
}

TEST(Agent, restarts_a_guest_that_crashed_unless_it_does_nothing_else) {
    Rig rig(13);
    rig.start();
    rig.pass(10min);
    rig.machine.guest_ends("web", HaltReason::crashed);
    rig.pass(5s);
    EXPECT_EQ(rig.machine.last_domid, 2);
    EXPECT_EQ(rig.inconsistency(), "");
    ASSERT_EQ(rig.told.size(), 1U);
    EXPECT_EQ(rig.told[0].power, DomainPower::running);
    EXPECT_EQ(rig.told[0].domid, 2);
    rig.machine.guest_ends("web", HaltReason::crashed);
    rig.pass(5s);
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_EQ(rig.told.back().reason, HaltReason::crashed);
}

TEST(Agent, a_guest_that_ends_while_the_agent_is_away_is_released) {
    Rig rig(14);
    rig.start();
    rig.kill();
    rig.machine.guest_ends("web", HaltReason::shutdown);
    rig.machine.ports["vifstray"] = "xenbr0";
    rig.boot();
    EXPECT_TRUE(rig.machine.idle());
    EXPECT_EQ(rig.inconsistency(), "");
}

TEST(Agent, a_guest_outlives_the_agent) {
    Rig rig(15);
    rig.start();
    rig.kill();
    rig.boot();
    EXPECT_EQ(rig.inconsistency(), "");
    EXPECT_EQ(rig.machine.last_domid, 1);
    EXPECT_EQ(rig.shutdown(), "");
    EXPECT_TRUE(rig.machine.idle());
}

TEST(Agent, storage_calls_interrupted_by_a_kill_are_done_again) {
    Rig rig(16);
    VdiSpec spec;
    spec.uuid = "vdi";
    const Json args = {{"sr", "sr"}, {"spec", spec}};
    rig.agent->runner().probe = [&](const std::string&, const std::string&, Runner::Moment when) {
        if (when == Runner::Moment::inside) rig.agent->runner().stop_now();
    };
    const auto call = rig.ask("vdi_create", args, "c");
    rig.pass(1s);
    rig.kill();
    rig.boot();
    EXPECT_EQ(rig.run("vdi_create", args, "c"), "");
    EXPECT_TRUE(rig.machine.disks.contains("vdi"));
}

}  // namespace
}  // namespace basalt::agent::testing
