#include "tests/sim/calls.hpp"

#include <algorithm>

#include "idl/records.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {

namespace {

using wire::Array;
using wire::Object;
using wire::Value;
using xenapi::Ref;
using xenapi::VmPowerState;

Value text(std::string words) {
    return Value(std::move(words));
}

constexpr const char* guest = "guest";
constexpr const char* made = "made by the call";

Ref<xenapi::Vm> halted_vm(SimPool& pool) {
    return pool.make_vm(guest);
}

Ref<xenapi::Vm> running_vm(SimPool& pool) {
    const Ref<xenapi::Vm> vm = halted_vm(pool);
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    return vm;
}

Ref<xenapi::Vm> suspended_vm(SimPool& pool) {
    const Ref<xenapi::Vm> vm = running_vm(pool);
    pool.call("VM.suspend", {of(vm)});
    return vm;
}

Ref<xenapi::Vdi> disk_of(SimPool& pool, Ref<xenapi::Vm> vm) {
    return pool.db().get(pool.db().get(vm).VBDs.front()).VDI;
}

bool vm_is(SimPool& pool, VmPowerState state) {
    const auto found = pool.db().by_name_label<xenapi::Vm>(guest);
    return !found.empty() && pool.db().get(found.front()).power_state == state;
}

Value disk_record(SimPool& pool) {
    return SimPool::vdi_record(pool.db().get(pool.xapi->core().pool).default_SR, made);
}

std::vector<Value> vlan_parameters(SimPool& pool) {
    const auto network =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record(made)});
    Ref<xenapi::Pif> uplink;
    pool.db().each<xenapi::Pif>([&](Ref<xenapi::Pif> pif, const xenapi::Pif& row) {
        if (row.physical) uplink = pif;
    });
    return {of(uplink), text("42"), of(network)};
}

/// Of a VM that has changed since, and runs.
Ref<xenapi::Vm> snapshot_to_revert_to(SimPool& pool) {
    const Ref<xenapi::Vm> vm = halted_vm(pool);
    pool.call("VM.set_VCPUs_at_startup", {of(vm), text("1")});
    const auto snapshot =
        pool.get<Ref<xenapi::Vm>>("VM.snapshot", {of(vm), text(made), Value(Array{})});
    pool.call("VM.set_VCPUs_max", {of(vm), text("2")});
    pool.call("VM.set_VCPUs_at_startup", {of(vm), text("2")});
    pool.call("VM.start", {of(vm), Value(false), Value(false)});
    return snapshot;
}

bool has_snapshot(SimPool& pool) {
    const auto found = pool.db().by_name_label<xenapi::Vm>(made);
    return !found.empty() && pool.db().get(found.front()).is_a_snapshot;
}

bool has_disk_snapshot(SimPool& pool) {
    bool found = false;
    pool.db().each<xenapi::Vdi>(
        [&](Ref<xenapi::Vdi>, const xenapi::Vdi& vdi) { found = found || vdi.is_a_snapshot; });
    return found;
}

}  // namespace

void PrintTo(const FaultCall& call, std::ostream* out) {
    *out << call.name;
}

std::vector<FaultCall> fault_calls() {
    return {
        {"vm_start", "VM.start",
         [](SimPool& pool) {
             return std::vector<Value>{of(halted_vm(pool)), Value(false), Value(false)};
         },
         [](SimPool& pool) { return vm_is(pool, VmPowerState::running); }},
        {"vm_destroy", "VM.destroy",
         [](SimPool& pool) { return std::vector<Value>{of(suspended_vm(pool))}; },
         [](SimPool& pool) { return pool.db().by_name_label<xenapi::Vm>(guest).empty(); }},
        {"vm_suspend", "VM.suspend",
         [](SimPool& pool) { return std::vector<Value>{of(running_vm(pool))}; },
         [](SimPool& pool) { return vm_is(pool, VmPowerState::suspended); }},
        {"vm_resume", "VM.resume",
         [](SimPool& pool) {
             return std::vector<Value>{of(suspended_vm(pool)), Value(false), Value(false)};
         },
         [](SimPool& pool) { return vm_is(pool, VmPowerState::running); }},
        {"vm_hard_shutdown", "VM.hard_shutdown",
         [](SimPool& pool) { return std::vector<Value>{of(running_vm(pool))}; },
         [](SimPool& pool) { return vm_is(pool, VmPowerState::halted); }},
        {"vm_snapshot", "VM.snapshot",
         [](SimPool& pool) {
             return std::vector<Value>{of(running_vm(pool)), text(made), Value(Array{})};
         },
         has_snapshot},
        {"vm_checkpoint", "VM.checkpoint",
         [](SimPool& pool) { return std::vector<Value>{of(running_vm(pool)), text(made)}; },
         has_snapshot},
        {"vm_revert", "VM.revert",
         [](SimPool& pool) { return std::vector<Value>{of(snapshot_to_revert_to(pool))}; },
         [](SimPool& pool) {
             const auto vm = pool.db().by_name_label<xenapi::Vm>(guest).front();
             return pool.db().get(vm).VCPUs_at_startup == 1;
         }},
        {"vdi_create", "VDI.create",
         [](SimPool& pool) { return std::vector<Value>{disk_record(pool)}; },
         [](SimPool& pool) { return !pool.db().by_name_label<xenapi::Vdi>(made).empty(); }},
        {"vdi_snapshot", "VDI.snapshot",
         [](SimPool& pool) {
             return std::vector<Value>{of(disk_of(pool, running_vm(pool))), Value(Object{})};
         },
         has_disk_snapshot},
        {"vdi_destroy", "VDI.destroy",
         [](SimPool& pool) {
             return std::vector<Value>{
                 of(pool.get<Ref<xenapi::Vdi>>("VDI.create", {disk_record(pool)}))};
         },
         [](SimPool& pool) { return pool.db().by_name_label<xenapi::Vdi>(made).empty(); }},
        {"vif_move", "VIF.move",
         [](SimPool& pool) {
             const Ref<xenapi::Vif> vif = pool.db().get(running_vm(pool)).VIFs.front();
             return std::vector<Value>{
                 of(vif), of(pool.get<Ref<xenapi::Network>>("network.create",
                                                            {SimPool::network_record(made)}))};
         },
         [](SimPool& pool) {
             const auto found = pool.db().by_name_label<xenapi::Network>(made);
             return !pool.db().get(found.front()).VIFs.empty();
         }},
        {"vlan_create", "VLAN.create", vlan_parameters,
         [](SimPool& pool) { return pool.db().count(xenapi::class_of<xenapi::Vlan>()) == 1; }},
    };
}

}  // namespace basalt::testing
