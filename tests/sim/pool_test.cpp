// A pool in one process: the real coordinator and hostd over simulated backends, under virtual
// time.
#include <gtest/gtest.h>

#include "idl/records.hpp"
#include "tests/sim/invariants.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using xenapi::VmPowerState;

/// What is wrong once all is acknowledged and cleaned.
std::string settled_text(SimPool& pool) {
    pool.pass(std::chrono::minutes(2));
    return broken_text(pool);
}

Value second_drive(Ref<Vm> vm, Ref<xenapi::Vdi> disk) {
    wire::Object record = *SimPool::vbd_record(vm, disk).get<wire::Object>();
    for (wire::Member& member : record)
        if (member.name == "userdevice") member.value = Value("5");
    return Value(std::move(record));
}

TEST(Pool, a_vm_lives_through_its_states) {
    SimPool pool(1);
    const Ref<Vm> vm = pool.make_vm("one");
    const auto state = [&] { return pool.db().get(vm).power_state; };
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(state(), VmPowerState::running);
    EXPECT_EQ(pool.db().get(vm).consoles.size(), 2U);
    EXPECT_TRUE(pool.db().get(pool.db().get(vm).VBDs.front()).currently_attached);
    EXPECT_TRUE(pool.db().get(pool.db().get(vm).VIFs.front()).currently_attached);
    pool.call("VM.pause", {of(vm)});
    EXPECT_EQ(state(), VmPowerState::paused);
    pool.call("VM.unpause", {of(vm)});
    pool.call("VM.suspend", {of(vm)});
    EXPECT_EQ(state(), VmPowerState::suspended);
    EXPECT_TRUE(pool.db().get(vm).suspend_VDI);
    pool.call("VM.resume", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(state(), VmPowerState::running);
    EXPECT_FALSE(pool.db().get(vm).suspend_VDI);
    pool.call("VM.clean_reboot", {of(vm)});
    EXPECT_EQ(state(), VmPowerState::running);
    pool.call("VM.clean_shutdown", {of(vm)});
    EXPECT_EQ(state(), VmPowerState::halted);
    EXPECT_TRUE(pool.db().get(vm).consoles.empty());
    EXPECT_TRUE(pool.db().get(vm).current_operations.empty());
}

TEST(Pool, a_host_begins_with_the_sr_that_is_on_its_device) {
    const std::string uuid = "5e000000-0000-4000-8000-00000000000a";
    SimPool pool(1, 1, [&](agent::HostFacts& facts) {
        facts.local_sr = {"ext", "/dev/disk/by-uuid/" + uuid, uuid};
    });
    const auto ref = pool.db().by_uuid<xenapi::Sr>(uuid).value();
    const xenapi::Sr row = pool.db().get(ref);
    EXPECT_EQ(row.type, "ext");
    EXPECT_EQ(row.name_label, "Local storage");
    const xenapi::Pbd pbd = pool.db().get(row.PBDs.front());
    EXPECT_TRUE(pbd.currently_attached);
    ASSERT_EQ(pbd.device_config.size(), 1U);
    EXPECT_EQ(pbd.device_config.at("device"), "/dev/disk/by-uuid/" + uuid);
    pool.call("VDI.create", {SimPool::vdi_record(ref, "disk")});
    EXPECT_EQ(settled_text(pool), "");
}

TEST(Pool, a_vm_goes_back_to_its_snapshot) {
    SimPool pool(33);
    const Ref<Vm> vm = pool.make_vm("one");
    const auto row = [&] { return pool.db().get(vm); };
    const auto disk_of = [&](Ref<Vm> of_vm) {
        for (const auto vbd : pool.db().get(of_vm).VBDs)
            if (pool.db().get(vbd).userdevice == "0") return pool.db().get(vbd).VDI;
        return Ref<xenapi::Vdi>{};
    };
    const auto mac = [&] { return pool.db().get(row().VIFs.front()).MAC; };
    const Ref<xenapi::Vdi> first = disk_of(vm);
    const std::string first_mac = mac();
    pool.call("VM.add_to_platform", {of(vm), Value("viridian"), Value("true")});
    const auto early =
        pool.get<Ref<Vm>>("VM.snapshot", {of(vm), Value("early"), Value(wire::Array{})});
    pool.call("VM.remove_from_platform", {of(vm), Value("viridian")});
    pool.db().transact([&](db::Txn& txn) { txn.edit(vm).name_label = "renamed"; });
    const auto added = pool.get<Ref<xenapi::Vdi>>(
        "VDI.create", {SimPool::vdi_record(pool.db().get(first).SR, "added later")});
    pool.call("VBD.create", {second_drive(vm, added)});
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto late =
        pool.get<Ref<Vm>>("VM.snapshot", {of(vm), Value("late"), Value(wire::Array{})});

    pool.call("VM.revert", {of(early)});
    EXPECT_EQ(row().power_state, VmPowerState::halted);
    EXPECT_EQ(row().name_label, "renamed");
    EXPECT_TRUE(row().platform.contains(std::string("viridian")));
    EXPECT_EQ(row().parent, early);
    EXPECT_FALSE(row().is_a_snapshot);
    EXPECT_EQ(row().snapshots.size(), 2U);
    EXPECT_EQ(mac(), first_mac);
    EXPECT_EQ(pool.db().find(first), nullptr) << "the disk that gave way is gone";
    EXPECT_NE(disk_of(vm), disk_of(early)) << "the snapshot keeps its own";
    EXPECT_EQ(pool.db().get(disk_of(early)).snapshot_of, disk_of(vm));
    EXPECT_EQ(row().VBDs.size(), 2U) << "what the snapshot did not know stays";
    EXPECT_NE(pool.db().find(added), nullptr);

    pool.call("VM.revert", {of(late)});
    EXPECT_FALSE(row().platform.contains(std::string("viridian")));
    EXPECT_EQ(row().parent, late);
    EXPECT_EQ(row().VBDs.size(), 2U);
    EXPECT_EQ(pool.db().find(added), nullptr) << "the late snapshot has a state of it";
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(code_of([&] { pool.call("VM.revert", {of(vm)}); }),
              "REVERT_ONLY_ALLOWED_ON_SNAPSHOT");
    pool.call("VM.hard_shutdown", {of(vm)});
    pool.call("VM.destroy", {of(vm)});
    EXPECT_EQ(code_of([&] { pool.call("VM.revert", {of(late)}); }), "VM_REVERT_FAILED");
    EXPECT_EQ(settled_text(pool), "");
}

TEST(Pool, a_vlan_is_made_on_every_host_or_on_none) {
    SimPool pool(35, 3);
    const auto network =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("tagged")});
    Ref<xenapi::Pif> uplink;
    pool.db().each<xenapi::Pif>([&](Ref<xenapi::Pif> pif, const xenapi::Pif&) { uplink = pif; });
    const auto made = pool.get<std::vector<Ref<xenapi::Pif>>>(
        "pool.create_VLAN_from_PIF", {of(uplink), of(network), Value("7")});
    EXPECT_EQ(made.size(), 3U);
    EXPECT_EQ(pool.db().get(network).PIFs.size(), 3U);
    for (const Ref<xenapi::Pif> pif : made)
        EXPECT_EQ(pool.db().get(pif).VLAN, 7);
    EXPECT_EQ(settled_text(pool), "");
    const auto refused = [&](const char* method, std::vector<Value> args) {
        return code_of([&] { pool.call(method, std::move(args)); });
    };
    const std::string device = pool.db().get(uplink).device;
    const auto other =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("other")});
    EXPECT_EQ(refused("pool.create_VLAN_from_PIF", {of(made.front()), of(other), Value("8")}),
              "PIF_IS_VLAN");
    EXPECT_EQ(refused("pool.create_VLAN", {Value(device), of(other), Value("4095")}),
              "VLAN_TAG_INVALID");
    // The tag is taken on one host only: what was made on the others before goes again.
    Ref<xenapi::Vlan> second;
    pool.db().each<xenapi::Vlan>([&](Ref<xenapi::Vlan> vlan, const xenapi::Vlan&) {
        if (!second) second = vlan;
    });
    pool.call("VLAN.destroy", {of(second)});
    EXPECT_EQ(refused("pool.create_VLAN", {Value(device), of(other), Value("7")}),
              "PIF_VLAN_EXISTS");
    EXPECT_TRUE(pool.db().get(other).PIFs.empty());
    EXPECT_EQ(settled_text(pool), "");
    const auto state = pool.get<xenapi::Map<std::string, std::string>>(
        "pool.get_license_state", {of(pool.xapi->core().pool)});
    EXPECT_EQ(state.get(std::string("expiry")), "never");
    EXPECT_FALSE(state.get(std::string("edition")).empty());
}

TEST(Pool, a_host_that_comes_back_has_the_networks_that_were_made_meanwhile) {
    SimPool pool(37, 2);
    bool over = false;  // the start of day, before that many frames
    for (std::int64_t frames = 1; !over; ++frames) {
        const auto killed = spawn(pool.loop, "kill", pool.hosts[1]->kill());
        pool.until([&] { return killed->finished() && !pool.is_ready(1); });
        const std::int64_t before = pool.wires[1]->frames();
        const auto up = spawn(pool.loop, "start", pool.hosts[1]->start());
        const auto ready = [&] { return up->finished() && pool.is_ready(1); };
        pool.until([&] { return (over = ready()) || pool.wires[1]->frames() >= before + frames; });
        pool.call("network.create", {SimPool::network_record("n" + std::to_string(frames))});
        pool.until(ready);
        EXPECT_EQ(settled_text(pool), "") << frames;
    }
}

TEST(Pool, guests_keep_a_network_that_another_host_connects) {
    SimPool pool(36, 2);
    const auto network =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("within")});
    const Ref<Vm> vm = pool.insert_vm("one");
    pool.call("VIF.create", {SimPool::vif_record(vm, network)});
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto home = pool.db().get(vm).resident_on;
    Ref<xenapi::Pif> elsewhere;
    pool.db().each<xenapi::Pif>([&](Ref<xenapi::Pif> pif, const xenapi::Pif& row) {
        if (row.host != home && row.physical) elsewhere = pif;
    });
    pool.call("VLAN.create", {of(elsewhere), Value("7"), of(network)});
    pool.crash_xapi();
    EXPECT_EQ(settled_text(pool), "");
}

TEST(Pool, a_checkpoint_has_the_memory) {
    SimPool pool(34);
    const Ref<Vm> vm = pool.make_vm("one");
    const auto row = [&] { return pool.db().get(vm); };
    const auto checkpoint = [&] {
        return pool.get<Ref<Vm>>("VM.checkpoint", {of(vm), Value("asleep")});
    };
    EXPECT_EQ(code_of(checkpoint), "VM_BAD_POWER_STATE");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const Ref<Vm> made = checkpoint();
    EXPECT_EQ(row().power_state, VmPowerState::running);
    EXPECT_FALSE(row().suspend_VDI);
    EXPECT_TRUE(row().current_operations.empty());
    EXPECT_EQ(pool.db().get(made).power_state, VmPowerState::suspended);
    EXPECT_EQ(pool.db().get(made).snapshot_info.get(std::string("power-state-at-snapshot")),
              "Running");
    pool.call("VM.pause", {of(vm)});
    const Ref<Vm> paused = checkpoint();
    EXPECT_EQ(row().power_state, VmPowerState::paused);
    pool.call("VM.destroy", {of(paused)});
    for (int again = 0; again < 2; ++again) {
        pool.call("VM.revert", {of(made)});
        EXPECT_EQ(row().power_state, VmPowerState::suspended);
        EXPECT_NE(row().suspend_VDI, pool.db().get(made).suspend_VDI);
        EXPECT_EQ(settled_text(pool), "");
        pool.call("VM.resume", {of(vm), Value(false), Value(false)});
        EXPECT_EQ(row().power_state, VmPowerState::running);
    }
    pool.call("VM.destroy", {of(made)});
    EXPECT_EQ(settled_text(pool), "");
}

TEST(Pool, what_rules_an_interface_changes_under_its_guest) {
    SimPool pool(31);
    const Ref<Vm> vm = pool.make_vm("one");
    const Ref<xenapi::Vif> vif = pool.db().get(vm).VIFs.front();
    const auto row = [&] { return pool.db().get(vif); };
    const auto on_host = [&] {
        return pool.hosts[0]->agent().guests().have(pool.db().get(vm).uuid).spec->nics.front();
    };
    const auto set = [&](const char* method, Value value) {
        return code_of([&] { pool.call(method, {of(vif), std::move(value)}); });
    };
    EXPECT_EQ(set("VIF.add_ipv4_allowed", Value("192.0.2.1")), "success");
    EXPECT_EQ(row().ipv4_allowed, std::vector<std::string>{"192.0.2.1"});
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_FALSE(on_host().locked);
    EXPECT_EQ(set("VIF.set_locking_mode", Value("locked")), "success");
    EXPECT_EQ(row().locking_mode, xenapi::VifLockingMode::locked);
    EXPECT_TRUE(on_host().locked);
    EXPECT_EQ(set("VIF.add_ipv4_allowed", Value("192.0.2.1")), "success") << "it is there";
    EXPECT_EQ(set("VIF.add_ipv4_allowed", Value("192.0.2.2")), "success");
    EXPECT_EQ(set("VIF.remove_ipv4_allowed", Value("192.0.2.1")), "success");
    EXPECT_EQ(on_host().ipv4, std::vector<std::string>{"192.0.2.2"});
    EXPECT_EQ(set("VIF.set_ipv6_allowed",
                  Value(wire::Array{Value("fd77::7"), Value("fd77::7"), Value("fd77::8")})),
              "success");
    EXPECT_EQ(on_host().ipv6, (std::vector<std::string>{"fd77::7", "fd77::8"}));
    for (const char* wrong : {"", "fd77::7", "192.0.2.300", "192.0.2.0/24", "192.0.2.1 "})
        EXPECT_EQ(set("VIF.add_ipv4_allowed", Value(wrong)), "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(row().ipv4_allowed, on_host().ipv4);
    const auto network =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("other")});
    EXPECT_EQ(set("VIF.move", of(network)), "success");
    EXPECT_EQ(row().network, network);
    EXPECT_EQ(on_host().bridge, pool.db().get(network).bridge);
    EXPECT_EQ(set("VIF.set_locking_mode", Value("disabled")), "success");
    EXPECT_TRUE(on_host().disabled);
    EXPECT_EQ(set("VIF.move", Value("OpaqueRef:NULL")), "HANDLE_INVALID");
    pool.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(set("VIF.set_locking_mode", Value("network_default")), "success");
    EXPECT_EQ(row().locking_mode, xenapi::VifLockingMode::network_default);
}

TEST(Pool, refusals_change_nothing) {
    SimPool pool(2);
    const Ref<Vm> vm = pool.make_vm("one");
    const db::Generation before = pool.db().class_generation(xenapi::class_of<Vm>());
    EXPECT_EQ(code_of([&] { pool.call("VM.hard_shutdown", {of(vm)}); }), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code_of([&] { pool.call("VM.provision", {of(vm)}); }),
              "PROVISION_ONLY_ALLOWED_ON_TEMPLATE");
    EXPECT_EQ(code_of([&] { pool.call("VM.resume", {of(vm), Value(false), Value(false)}); }),
              "VM_BAD_POWER_STATE");
    EXPECT_EQ(pool.db().class_generation(xenapi::class_of<Vm>()), before);
}

TEST(Pool, snapshot_and_clone_have_disks_of_their_own) {
    SimPool pool(3);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto snapshot = pool.get<Ref<Vm>>(
        "VM.snapshot", {of(vm), Value(std::string("snap")), Value(wire::Array{})});
    EXPECT_TRUE(pool.db().get(snapshot).is_a_snapshot);
    EXPECT_EQ(pool.db().get(snapshot).snapshot_of, vm);
    EXPECT_EQ(pool.db().get(vm).snapshots, std::vector{snapshot});
    pool.call("VM.hard_shutdown", {of(vm)});
    const auto clone = pool.get<Ref<Vm>>("VM.clone", {of(vm), Value(std::string("two"))});
    const auto disk = [&](Ref<Vm> of_vm) {
        return pool.db().get(pool.db().get(of_vm).VBDs.front()).VDI;
    };
    EXPECT_NE(disk(clone), disk(vm));
    EXPECT_NE(disk(snapshot), disk(vm));
    const auto mac = [&](Ref<Vm> of_vm) {
        return pool.db().get(pool.db().get(of_vm).VIFs.front()).MAC;
    };
    EXPECT_NE(mac(clone), mac(vm));
    EXPECT_EQ(mac(snapshot), mac(vm));
    pool.call("VM.start", {of(clone), Value(false), Value(false)});
    pool.call("VM.hard_shutdown", {of(clone)});
    pool.call("VM.destroy", {of(clone)});
    EXPECT_EQ(pool.db().find(clone), nullptr);
}

TEST(Pool, nothing_acknowledged_is_lost_when_xapi_dies) {
    SimPool pool(4);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto written = spawn(pool.loop, "durable", pool.db().durable(pool.db().published()));
    pool.until([&] { return written->finished(); });
    pool.crash_xapi();
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
    EXPECT_EQ(pool.db().get(vm).name_label, "one");
    pool.call("VM.clean_shutdown", {of(vm)});
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
}

TEST(Pool, a_host_that_booted_anew_runs_nothing) {
    SimPool pool(5);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto down = spawn(pool.loop, "power", pool.hosts[0]->lose_power());
    pool.until([&] { return down->finished(); });
    const auto up = spawn(pool.loop, "boot", pool.hosts[0]->start());
    pool.until([&] { return up->finished() && pool.is_ready(0); });
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
}

TEST(Pool, hostd_dies_and_the_guest_goes_on) {
    SimPool pool(6);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto killed = spawn(pool.loop, "kill", pool.hosts[0]->kill());
    pool.until([&] { return killed->finished(); });
    pool.until([&] { return !pool.is_ready(0); });
    EXPECT_EQ(code_of([&] { pool.call("VM.pause", {of(vm)}); }), "HOST_OFFLINE");
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
    const auto up = spawn(pool.loop, "start", pool.hosts[0]->start());
    pool.until([&] { return up->finished() && pool.is_ready(0); });
    pool.call("VM.pause", {of(vm)});
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::paused);
}

// A host tells of many guests at its start, and xapi lands them a few at a time: one that ends at
// any of these moments has ended.
TEST(Pool, a_guest_that_ends_while_others_are_landed_stays_ended) {
    SimPool pool(11);
    std::vector<Ref<Vm>> vms;
    for (int i = 0; i < 40; ++i)
        vms.push_back(pool.insert_vm("guest " + std::to_string(i)));
    for (const Ref<Vm> vm : vms)
        pool.call("VM.start", {of(vm), Value(false), Value(false)});
    const Ref<Vm> last = vms.back();
    const std::string uuid = pool.db().get(last).uuid;
    bool over = false;  // the start of day, before that many frames
    std::int64_t frames = 0;
    while (!over) {
        ++frames;
        if (pool.db().get(last).power_state == VmPowerState::halted)
            pool.call("VM.start", {of(last), Value(false), Value(false)});
        const auto killed = spawn(pool.loop, "kill", pool.hosts[0]->kill());
        pool.until([&] { return killed->finished() && !pool.is_ready(0); });
        const std::int64_t before = pool.wires[0]->frames();
        const auto up = spawn(pool.loop, "start", pool.hosts[0]->start());
        const auto ready = [&] { return up->finished() && pool.is_ready(0); };
        pool.until([&] { return (over = ready()) || pool.wires[0]->frames() >= before + frames; });
        pool.hosts[0]->machine().power_off(uuid);
        pool.until(ready);
        pool.pass(10s);
        EXPECT_EQ(pool.db().get(last).power_state, VmPowerState::halted) << frames;
    }
    EXPECT_GT(frames, 10);
    EXPECT_EQ(pool.db().get(vms.front()).power_state, VmPowerState::running);
}

TEST(Pool, sixty_four_hosts_take_a_guest_each) {
    SimPool pool(7, 64);
    std::vector<Ref<Vm>> vms;
    std::vector<std::shared_ptr<SimPool::Pending>> starts;
    for (int i = 0; i < 8; ++i)
        vms.push_back(pool.make_vm("vm" + std::to_string(i)));
    for (const Ref<Vm> vm : vms)
        starts.push_back(pool.start("VM.start", {of(vm), Value(false), Value(false)}));
    for (const auto& one : starts)
        pool.wait(one);
    for (const Ref<Vm> vm : vms)
        EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
    EXPECT_EQ(pool.db().count(xenapi::class_of<xenapi::Host>()), 64U);
}

std::uint64_t history_of(std::uint64_t seed) {
    SimPool pool(seed, 3);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    pool.call("VM.clean_shutdown", {of(vm)});
    return pool.loop.history();
}

TEST(Pool, the_same_seed_is_the_same_history) {
    EXPECT_EQ(history_of(11), history_of(11));
    EXPECT_NE(history_of(11), history_of(12));
}

TEST(Declared, what_a_message_may_answer) {
    const xenapi::MessageInfo& start = *xenapi::find_message("VM.start");
    EXPECT_TRUE(core::declares(start, "VM_BAD_POWER_STATE"));
    EXPECT_TRUE(core::declares(start, "HANDLE_INVALID"));
    EXPECT_TRUE(core::declares(start, "SR_BACKEND_FAILURE_46"));
    EXPECT_FALSE(core::declares(start, "PBD_EXISTS"));
    core::UndeclaredErrors errors;
    errors.note(start, "VM_BAD_POWER_STATE");
    EXPECT_TRUE(errors.seen().empty());
    errors.note(start, "PBD_EXISTS");
    errors.note(start, "PBD_EXISTS");
    EXPECT_EQ(
        errors.seen(),
        (std::map<core::UndeclaredErrors::Pair, std::uint64_t>{{{"VM.start", "PBD_EXISTS"}, 2}}));
}

}  // namespace
}  // namespace basalt::testing
