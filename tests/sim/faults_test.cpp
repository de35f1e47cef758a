// What goes wrong between and under coordinator and hosts without anybody being killed: connections
// that break, calls that are cancelled, disks that are full, and a coordinator whose time is over.
#include <gtest/gtest.h>

#include "idl/records.hpp"
#include "tests/sim/calls.hpp"
#include "tests/sim/invariants.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using xenapi::VmPowerState;

void expect_all_or_nothing(SimPool& pool, const FaultCall& call,
                           const std::shared_ptr<SimPool::Pending>& pending,
                           const std::string& where) {
    pool.until([&] { return pending->done; });
    pool.until([&] { return pool.is_ready(0); });
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "") << where << ": " << code_of(pending->failure);
    EXPECT_EQ(call.happened(pool), pending->acknowledged)
        << where << ": " << code_of(pending->failure);
}

class Calls : public ::testing::TestWithParam<FaultCall> {};

// The connection breaks at the n-th frame after the call began; false when there are fewer.
bool break_at(const FaultCall& call, int n) {
    SimPool pool(2000 + static_cast<std::uint64_t>(n));
    const std::vector<Value> params = call.prepare(pool);
    pool.pass(settling);
    pool.wires[0]->break_at(n);
    const auto pending = pool.start(call.method, params);
    pool.until([&] { return pending->done; });
    const bool broke = pool.wires[0]->broke();
    pool.wires[0]->break_at(-1);
    expect_all_or_nothing(pool, call, pending, "broken at frame " + std::to_string(n));
    if (!pending->acknowledged) pool.call(call.method, params);
    pool.pass(settling);
    EXPECT_TRUE(call.happened(pool));
    EXPECT_EQ(broken_text(pool), "") << "asked again after frame " << n;
    return broke;
}

TEST_P(Calls, whose_connection_breaks_at_every_frame) {
    int frames = 0;
    while (!HasFailure() && break_at(GetParam(), frames))
        ++frames;
    EXPECT_GE(frames, GetParam().name == "vm_hard_shutdown" ? 1 : 2);
}

// Cancelled after n turns of the loop; false when the call was over by then.
bool cancel_after(const FaultCall& call, int n) {
    SimPool pool(3000);
    const std::vector<Value> params = call.prepare(pool);
    pool.pass(settling);
    const auto pending = pool.start(call.method, params);
    for (int i = 0; i < n && !pending->done; ++i)
        pool.loop.step();
    const bool in_time = !pending->done;
    pending->job->cancel();
    pool.until([&] { return pending->done; });
    pool.pass(settling);
    const std::string where =
        "cancelled after " + std::to_string(n) + " turns: " + code_of(pending->failure);
    EXPECT_EQ(broken_text(pool), "") << where;
    if (pending->acknowledged) {
        EXPECT_TRUE(call.happened(pool)) << where;
    }
    return in_time;
}

TEST_P(Calls, cancelled_at_every_turn) {
    int turns = 0;
    while (!HasFailure() && turns < 3000 && cancel_after(GetParam(), turns))
        ++turns;
    EXPECT_GE(turns, 10);
    EXPECT_LT(turns, 3000);
}

// The store is read-only before the call (0), or from its n-th moment on; false when it has fewer.
bool fill_store_at(const FaultCall& call, int n) {
    SimPool pool(4000 + static_cast<std::uint64_t>(n));
    const std::vector<Value> params = call.prepare(pool);
    pool.pass(settling);
    int seen = 0;
    pool.on_moment = [&](int, const std::string&) {
        if (++seen == n) pool.store->faults().disk_full = true;
    };
    if (n == 0) pool.store->faults().disk_full = true;
    const auto pending = pool.start(call.method, params);
    pool.until([&] { return pending->done; });
    pool.on_moment = nullptr;
    const bool full = pool.store->faults().disk_full;
    pool.pass(settling);
    pool.store->faults().disk_full = false;
    const std::string where = "store full from moment " + std::to_string(n);
    expect_all_or_nothing(pool, call, pending, where);
    if (!pending->acknowledged) {
        EXPECT_EQ(code_of(pending->failure), "OUT_OF_SPACE") << where;
        // What it could not take back is taken back at the latest when the host appears again.
        pool.cut(0);
        pool.mend();
        pool.call(call.method, params);
        pool.pass(settling);
        EXPECT_TRUE(call.happened(pool)) << where;
        EXPECT_EQ(broken_text(pool), "") << where;
    }
    return full;
}

TEST_P(Calls, while_the_store_fills_up) {
    int moments = 0;
    while (!HasFailure() && fill_store_at(GetParam(), moments))
        ++moments;
    EXPECT_GE(moments, 2);
}

INSTANTIATE_TEST_SUITE_P(All, Calls, ::testing::ValuesIn(fault_calls()),
                         [](const auto& each) { return each.param.name; });

TEST(FullDisk, guests_can_be_shut_down_while_nothing_can_be_made) {
    SimPool pool(5);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    pool.store->faults().disk_full = true;
    EXPECT_EQ(code_of([&] { pool.call("VM.suspend", {of(vm)}); }), "OUT_OF_SPACE");
    pool.call("VM.clean_shutdown", {of(vm)});
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
    pool.store->faults().disk_full = false;
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "");
}

TEST(FullDisk, a_full_repository_leaves_nothing_half_made) {
    for (const int images_left : {0, 1, 2}) {
        SimPool pool(6);
        const Ref<Vm> vm = pool.make_vm("one");
        pool.call("VM.start", {of(vm), Value(false), Value(false)});
        const auto sr = pool.db().get(pool.xapi->core().pool).default_SR;
        for (auto& [name, repository] : pool.shared->disks->repositories) {
            repository.image_bytes = 1 << 20;
            repository.size_bytes = (1 + images_left) * repository.image_bytes;
        }
        const std::string code = code_of([&] {
            pool.call("VM.snapshot", {of(vm), Value(std::string("snap")), Value(wire::Array{})});
        });
        EXPECT_EQ(code, images_left < 2 ? "SR_FULL" : "success");
        if (images_left == 0) {
            EXPECT_EQ(code_of([&] { pool.call("VM.suspend", {of(vm)}); }), "SR_FULL");
        }
        pool.call("SR.scan", {of(sr)});
        pool.pass(settling);
        EXPECT_EQ(broken_text(pool), "") << images_left;
        EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
        pool.call("VM.hard_shutdown", {of(vm)});
    }
}

TEST(TakeOver, the_old_coordinator_thaws_and_is_refused) {
    SimPool pool(7, 2);
    const Ref<Vm> one = pool.make_vm("one");
    const Ref<Vm> two = pool.make_vm("two");
    pool.pass(settling);
    // Two calls are in the old one's hands: one that a host has not heard of, and one under way.
    const auto unheard = pool.start("VM.start", {of(one), Value(false), Value(false)});
    pool.take_over();
    pool.call("VM.start", {of(two), Value(false), Value(false)});
    const Ref<Vm> three = pool.make_vm("three");
    pool.thaw_old();
    pool.until([&] { return unheard->done && pool.old_superseded(); });
    EXPECT_FALSE(unheard->acknowledged);
    pool.pass(settling);
    EXPECT_EQ(pool.db().get(one).power_state, VmPowerState::halted);
    EXPECT_EQ(pool.db().get(two).power_state, VmPowerState::running);
    EXPECT_NE(pool.db().find(three), nullptr);
    EXPECT_EQ(broken_text(pool), "");
    pool.call("VM.start", {of(one), Value(false), Value(false)});
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "");
}

TEST(TakeOver, what_the_old_coordinator_began_is_settled_by_the_new_one) {
    SimPool pool(8);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.pass(settling);
    bool creating = false;
    pool.on_moment = [&](int who, const std::string& moment) {
        if (who == 0 && moment == "vm_start/create/inside") creating = true;
    };
    const auto begun = pool.start("VM.start", {of(vm), Value(false), Value(false)});
    pool.until([&] { return creating; });
    pool.on_moment = nullptr;
    pool.take_over();
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
    EXPECT_EQ(pool.hosts[0]->machine().domain_count(), 0U);
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    pool.thaw_old();
    pool.until([&] { return begun->done && pool.old_superseded(); });
    EXPECT_FALSE(begun->acknowledged);
    pool.pass(settling);
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::running);
    EXPECT_EQ(broken_text(pool), "");
}

TEST(AskedAgain, a_start_whose_answer_is_lost_lands_once) {
    SimPool pool(9);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.pass(settling);
    int starts = 0;
    int sent = 0;
    pool.on_moment = [&](int who, const std::string& moment) {
        if (who == 0 && moment == "vm_start/create/inside") {
            ++starts;
            pool.wires[0]->break_at(0);
        }
        if (moment == "vm_start/sent") ++sent;
    };
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(starts, 1);
    EXPECT_EQ(sent, 2);
    pool.on_moment = nullptr;
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "");
}

TEST(AskedAgain, a_guest_that_ends_during_an_operation_is_seen_afterwards) {
    SimPool pool(10);
    const Ref<Vm> vm = pool.make_vm("one");
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    pool.pass(settling);
    const std::string uuid = pool.db().get(vm).uuid;
    bool ended = false;
    pool.on_moment = [&](int who, const std::string& moment) {
        if (who != 0 || !moment.starts_with("vdi_snapshot/") || !moment.ends_with("/inside"))
            return;
        pool.hosts[0]->machine().power_off(uuid);
        ended = true;
    };
    pool.call("VM.snapshot", {of(vm), Value(std::string("snap")), Value(wire::Array{})});
    pool.on_moment = nullptr;
    pool.pass(settling);
    EXPECT_TRUE(ended);
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
    EXPECT_EQ(broken_text(pool), "");
}

TEST(LeftOver, a_guest_starts_nowhere_until_the_host_of_a_failed_start_is_rid_of_it) {
    SimPool pool(11, 2);
    const Ref<Vm> vm = pool.insert_vm("one");
    const auto start_on = [&](std::size_t index) {
        const auto host = pool.db().by_uuid<xenapi::Host>(pool.hosts[index]->facts().uuid);
        return code_of(
            [&] { pool.call("VM.start_on", {of(vm), of(*host), Value(false), Value(false)}); });
    };
    hv::SimHost& machine = pool.hosts[0]->machine();
    const ApiError fault("INTERNAL_ERROR", {"a fault"});
    machine.fail("set_running", fault);
    machine.fail("destroy", fault, 1000);
    EXPECT_EQ(start_on(0), "INTERNAL_ERROR");
    EXPECT_EQ(pool.db().get(vm).power_state, VmPowerState::halted);
    EXPECT_EQ(machine.domain_count(), 1U);
    EXPECT_EQ(start_on(1), "INTERNAL_ERROR");
    pool.cut(0);
    pool.cut(SimPool::xapi_itself);
    pool.mend();
    EXPECT_EQ(start_on(1), "INTERNAL_ERROR") << "after both daemons were killed";
    machine.fail("destroy", fault, 1);
    pool.pass(settling);
    EXPECT_EQ(machine.domain_count(), 0U);
    EXPECT_EQ(start_on(1), "success");
    pool.pass(settling);
    EXPECT_EQ(broken_text(pool), "");
}

}  // namespace
}  // namespace basalt::testing
