// Trusted platform modules: what a guest puts there goes with its VM, from host to host, into
// snapshots and back. A simulated guest adds a word to its TPM at each boot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/encoding.hpp"
#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using xenapi::VmPowerState;
using xenapi::Vtpm;

class Modules : public ::testing::Test {
  protected:
    explicit Modules(int hosts = 1) : pool(91, hosts) {}

    Ref<Vtpm> give(Ref<Vm> vm, bool unique = false) {
        return pool.get<Ref<Vtpm>>("VTPM.create", {of(vm), Value(unique)});
    }

    void start(Ref<Vm> vm) {
        pool.call("VM.start", {of(vm), Value(false), Value(false)});
        pool.pass(5s);
    }

    void stop(Ref<Vm> vm) { pool.call("VM.hard_shutdown", {of(vm)}); }

    Ref<Vm> copy(const std::string& how, Ref<Vm> vm) {
        std::vector<Value> args = {of(vm), Value(how)};
        if (how == "copy") args.push_back(Value(std::string("OpaqueRef:NULL")));
        return pool.get<Ref<Vm>>("VM." + how, std::move(args));
    }

    const Vm& row(Ref<Vm> vm) { return pool.db().get(vm); }

    Ref<Vtpm> module(Ref<Vm> vm) { return row(vm).VTPMs.at(0); }

    // What is in the module, in the simulated guest's words.
    std::string kept(Ref<Vm> vm) {
        return from_base64(pool.get<std::string>("VTPM.get_contents", {of(module(vm))}))
            .value_or("not base64");
    }

    std::size_t secrets() {
        std::size_t count = 0;
        pool.db().each<xenapi::Secret>(
            [&](Ref<xenapi::Secret>, const xenapi::Secret&) { ++count; });
        return count;
    }

    SimPool pool;
};

TEST_F(Modules, a_halted_vm_gets_one_and_a_guest_that_runs_keeps_it) {
    const Ref<Vm> vm = pool.insert_vm("web");
    const Ref<Vtpm> vtpm = give(vm);
    EXPECT_THAT(row(vm).VTPMs, ElementsAre(vtpm));
    EXPECT_THAT(pool.db().get(vtpm).allowed_operations,
                ElementsAre(xenapi::VtpmOperations::destroy));
    EXPECT_EQ(code_of([&] { give(vm); }), "VTPM_MAX_AMOUNT_REACHED");
    start(vm);
    EXPECT_TRUE(pool.hosts.front()->machine().config(row(vm).uuid)->spec.tpm);
    EXPECT_THAT(pool.db().get(vtpm).allowed_operations, IsEmpty());
    EXPECT_EQ(code_of([&] { pool.call("VTPM.destroy", {of(vtpm)}); }), "VM_BAD_POWER_STATE");
    stop(vm);
    pool.call("VTPM.destroy", {of(vtpm)});
    EXPECT_THAT(row(vm).VTPMs, IsEmpty());
    EXPECT_EQ(secrets(), 0U);
    EXPECT_EQ(pool.hosts.front()->machine().kept(row(vm).uuid, agent::StateKind::tpm), "");
    start(vm);
    EXPECT_FALSE(pool.hosts.front()->machine().config(row(vm).uuid)->spec.tpm);
    EXPECT_EQ(code_of([&] { give(vm); }), "VM_BAD_POWER_STATE");
}

TEST_F(Modules, what_the_guest_puts_there_is_in_the_records_and_there_at_the_next_start) {
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm);
    EXPECT_EQ(kept(vm), "");
    start(vm);
    EXPECT_EQ(kept(vm), "boot ");
    stop(vm);
    start(vm);
    EXPECT_EQ(kept(vm), "boot boot ");
    // It writes while nobody listens, and ends.
    const std::string uuid = row(vm).uuid;
    pool.cut(SimPool::xapi_itself);
    pool.hosts.front()->machine().write_state(uuid, agent::StateKind::tpm, "sealed ");
    pool.hosts.front()->machine().power_off(uuid);
    pool.mend();
    pool.pass(5s);
    const Ref<Vm> again = *pool.db().by_uuid<Vm>(uuid);
    EXPECT_EQ(row(again).power_state, VmPowerState::halted);
    EXPECT_EQ(kept(again), "sealed ");
}

TEST_F(Modules, the_records_word_wins_when_both_changed) {
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm);
    start(vm);
    pool.call("VTPM.set_contents", {of(module(vm)), Value(base64("restored "))});
    pool.hosts.front()->machine().write_state(row(vm).uuid, agent::StateKind::tpm, "later ");
    pool.pass(5s);
    EXPECT_EQ(kept(vm), "restored ");
    stop(vm);
    start(vm);
    EXPECT_EQ(kept(vm), "restored boot ");
    EXPECT_EQ(code_of([&] {
                  pool.call("VTPM.set_contents", {of(module(vm)), Value(std::string("no text"))});
              }),
              "INVALID_VALUE");
}

TEST_F(Modules, snapshots_have_it_as_it_was_and_clones_as_it_is) {
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm);
    start(vm);
    const Ref<Vm> snapshot = copy("snapshot", vm);
    EXPECT_EQ(kept(snapshot), "boot ");
    stop(vm);
    start(vm);
    stop(vm);
    EXPECT_EQ(kept(vm), "boot boot ");
    const Ref<Vm> clone = copy("clone", vm);
    EXPECT_NE(module(clone), module(vm));
    EXPECT_NE(pool.db().get(module(clone)).uuid, pool.db().get(module(vm)).uuid);
    EXPECT_EQ(kept(clone), "boot boot ");
    EXPECT_EQ(kept(copy("copy", vm)), "boot boot ");

    pool.call("VM.revert", {of(snapshot)});
    EXPECT_EQ(kept(vm), "boot ");
    start(vm);
    EXPECT_EQ(kept(vm), "boot boot ");
    EXPECT_EQ(kept(snapshot), "boot ");
    start(clone);
    EXPECT_EQ(kept(clone), "boot boot boot ");
    stop(clone);
    const std::size_t before = secrets();
    pool.call("VM.destroy", {of(clone)});
    EXPECT_EQ(secrets(), before - 1);
}

TEST_F(Modules, a_guest_that_sleeps_wakes_with_it) {
    const Ref<Vm> vm = pool.make_vm("web");
    give(vm);
    start(vm);
    const Ref<Vm> checkpoint = pool.get<Ref<Vm>>("VM.checkpoint", {of(vm), Value("asleep")});
    EXPECT_EQ(kept(checkpoint), "boot ");
    pool.hosts.front()->machine().write_state(row(vm).uuid, agent::StateKind::tpm, "sealed ");
    pool.pass(5s);
    EXPECT_EQ(kept(vm), "sealed ");
    pool.call("VM.suspend", {of(vm)});
    EXPECT_EQ(code_of([&] { pool.call("VTPM.destroy", {of(module(vm))}); }), "VM_BAD_POWER_STATE");
    pool.call("VM.resume", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(kept(vm), "sealed ");
    pool.call("VM.revert", {of(checkpoint)});
    EXPECT_EQ(kept(vm), "boot ");
    pool.call("VM.resume", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(kept(vm), "boot ");
}

TEST_F(Modules, a_unique_ones_contents_are_never_twice) {
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm, true);
    start(vm);
    const Ref<Vm> snapshot = copy("snapshot", vm);
    stop(vm);
    const Ref<Vm> clone = copy("clone", vm);
    EXPECT_TRUE(pool.db().get(module(clone)).is_unique);
    EXPECT_EQ(kept(clone), "");
    EXPECT_EQ(kept(snapshot), "");
    pool.call("VM.revert", {of(snapshot)});
    EXPECT_EQ(kept(vm), "boot ");
}

TEST_F(Modules, a_template_that_says_so_gives_its_vms_one) {
    const Ref<Vm> vm = pool.insert_vm("web");
    pool.db().transact([&](db::Txn& txn) {
        txn.edit(vm).is_a_template = true;
        txn.edit(vm).platform.insert_or_assign("vtpm", "true");
    });
    const Ref<Vm> made = copy("clone", vm);
    pool.call("VM.provision", {of(made)});
    EXPECT_EQ(row(made).VTPMs.size(), 1U);
    EXPECT_THAT(row(vm).VTPMs, IsEmpty());
}

class ModulesOfAPool : public Modules {
  protected:
    ModulesOfAPool() : Modules(2) {}

    void start_on(Ref<Vm> vm, const std::string& uuid) {
        pool.call("VM.start_on",
                  {of(vm), of(*pool.db().by_uuid<xenapi::Host>(uuid)), Value(false), Value(false)});
        pool.pass(5s);
    }
};

TEST_F(ModulesOfAPool, it_goes_where_the_vm_starts) {
    std::vector<std::string> hosts;
    pool.db().each<xenapi::Host>(
        [&](Ref<xenapi::Host>, const xenapi::Host& host) { hosts.push_back(host.uuid); });
    ASSERT_EQ(hosts.size(), 2U);
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm);
    start_on(vm, hosts[0]);
    stop(vm);
    start_on(vm, hosts[1]);
    EXPECT_EQ(kept(vm), "boot boot ");
    stop(vm);
    // The first has an old one, which the records know better.
    start_on(vm, hosts[0]);
    EXPECT_EQ(kept(vm), "boot boot boot ");
    stop(vm);
    pool.call("VM.destroy", {of(vm)});
    for (const auto& host : pool.hosts)
        EXPECT_EQ(host->machine().purged().size(), 1U);
}

}  // namespace
}  // namespace basalt::testing
