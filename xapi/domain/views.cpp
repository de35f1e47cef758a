#include "xapi/domain/views.hpp"

#include <algorithm>

#include "idl/records/network.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sm.hpp"
#include "xapi/domain/sriov.hpp"

namespace basalt::domain {

namespace {

using xenapi::Ref;

template <class Map>
auto as_std_map(const Map& map) {
    return std::map<typename Map::key_type, typename Map::mapped_type>(map.begin(), map.end());
}

bool pool_says(const db::Txn& txn, const char* key) {
    bool said = false;
    txn.each<xenapi::Pool>([&](Ref<xenapi::Pool>, const xenapi::Pool& pool) {
        said = said || pool.other_config.get(key) == "true";
    });
    return said;
}

bool any_disk_resets(const db::Txn& txn, const xenapi::Vm& vm) {
    return std::ranges::any_of(vm.VBDs, [&](Ref<xenapi::Vbd> ref) {
        const xenapi::Vbd* vbd = txn.find(ref);
        const xenapi::Vdi* vdi = vbd != nullptr ? txn.find(vbd->VDI) : nullptr;
        return vdi != nullptr && vdi->on_boot == xenapi::OnBoot::reset;
    });
}

rules::DeviceVmView device_vm(const db::Txn& txn, Ref<xenapi::Vm> ref) {
    rules::DeviceVmView out{.ref = ref.text()};
    const xenapi::Vm* vm = txn.find(ref);
    if (vm == nullptr) return out;
    out.power_state = vm->power_state;
    out.is_control_domain = vm->is_control_domain;
    for (const auto& [task, op] : vm->current_operations) {
        using enum xenapi::VmOperations;
        out.ending_or_pausing |=
            op == clean_shutdown || op == hard_shutdown || op == suspend || op == pause;
    }
    return out;
}

// Another user of the disk that excludes this one: a disk has any number of readers or one writer.
bool busy_elsewhere(const db::Txn& txn, Ref<xenapi::Vbd> self, const xenapi::Vbd& vbd,
                    const xenapi::Vdi& vdi) {
    if (vdi.metadata_of_pool) return true;  // we write to it, now and then
    if (vdi.sharable) return false;
    return std::ranges::any_of(vdi.VBDs, [&](Ref<xenapi::Vbd> ref) {
        const xenapi::Vbd* other = ref == self ? nullptr : txn.find(ref);
        const bool in_use = other != nullptr && (other->currently_attached || other->reserved);
        return in_use && (other->mode == xenapi::VbdMode::rw || vbd.mode == xenapi::VbdMode::rw);
    });
}

}  // namespace

rules::VmView view(const db::Txn& txn, Ref<xenapi::Vm> ref, const xenapi::Vm& vm) {
    rules::VmView out{.ref = ref.text(),
                      .power_state = vm.power_state,
                      .is_template = vm.is_a_template,
                      .is_default_template = vm.is_default_template,
                      .is_snapshot = vm.is_a_snapshot,
                      .is_control_domain = vm.is_control_domain};
    out.immobile =
        vm.platform.get("nomigrate") == "true" || vm.platform.get("nested-virt") == "true";
    out.resets_a_disk_on_boot = any_disk_resets(txn, vm);
    out.has_pci = !vm.attached_PCIs.empty();
    out.has_vgpu = !vm.VGPUs.empty();
    out.has_vusb = !vm.VUSBs.empty();
    out.vtpm_count = static_cast<std::int64_t>(vm.VTPMs.size());
    out.in_appliance = static_cast<bool>(vm.appliance);
    out.has_schedule = static_cast<bool>(vm.snapshot_schedule);
    out.clone_suspended_allowed = vm.power_state == xenapi::VmPowerState::suspended &&
                                  pool_says(txn, "allow_clone_suspended_vm");
    out.blocked = as_std_map(vm.blocked_operations);
    out.current = as_std_map(vm.current_operations);
    return out;
}

rules::VbdView view(const db::Txn& txn, Ref<xenapi::Vbd> ref, const xenapi::Vbd& vbd) {
    rules::VbdView out{.ref = ref.text(),
                       .type = vbd.type,
                       .mode = vbd.mode,
                       .attached = vbd.currently_attached,
                       .empty = vbd.empty,
                       .unpluggable = vbd.unpluggable};
    if (const xenapi::Vdi* vdi = txn.find(vbd.VDI)) {
        out.vdi = vbd.VDI.text();
        out.vdi_read_only = vdi->read_only;
        out.vdi_sharable = vdi->sharable;
        out.vdi_busy_elsewhere = busy_elsewhere(txn, ref, vbd, *vdi);
    }
    out.vm = device_vm(txn, vbd.VM);
    out.current = as_std_map(vbd.current_operations);
    return out;
}

rules::VifView view(const db::Txn& txn, Ref<xenapi::Vif> ref, const xenapi::Vif& vif) {
    const xenapi::Network* network = txn.find(vif.network);
    return {.ref = ref.text(),
            .attached = vif.currently_attached,
            .vm = device_vm(txn, vif.VM),
            .current = as_std_map(vif.current_operations),
            .is_function = network != nullptr && is_sriov_network(txn, *network)};
}

rules::SrView view(const db::Txn& txn, Ref<xenapi::Sr> ref, const xenapi::Sr& sr) {
    rules::SrView out{.ref = ref.text()};
    txn.each<xenapi::Sm>([&](Ref<xenapi::Sm>, const xenapi::Sm& sm) {
        if (sm.type != sr.type) return;
        for (const auto& [feature, version] : sm.features)
            out.features.insert(feature);
    });
    out.has_pbd = !sr.PBDs.empty();
    out.has_attached_pbd = std::ranges::any_of(sr.PBDs, [&](Ref<xenapi::Pbd> pbd) {
        const xenapi::Pbd* row = txn.find(pbd);
        return row != nullptr && row->currently_attached;
    });
    out.has_managed_vdi = std::ranges::any_of(sr.VDIs, [&](Ref<xenapi::Vdi> vdi) {
        const xenapi::Vdi* row = txn.find(vdi);
        return row != nullptr && row->managed && row->type != xenapi::VdiType::rrd;
    });
    out.is_tools = sr.is_tools_sr;
    out.is_udev = sr.type == "udev";
    out.current = as_std_map(sr.current_operations);
    return out;
}

rules::VdiView view(const db::Txn& txn, Ref<xenapi::Vdi> ref, const xenapi::Vdi& vdi) {
    rules::VdiView out{.ref = ref.text(),
                       .managed = vdi.managed,
                       .missing = vdi.missing,
                       .sharable = vdi.sharable,
                       .read_only = vdi.read_only,
                       .reset_on_boot = vdi.on_boot == xenapi::OnBoot::reset,
                       .cbt_enabled = vdi.cbt_enabled,
                       .is_snapshot = vdi.is_a_snapshot,
                       .type = vdi.type};
    if (const xenapi::Sr* sr = txn.find(vdi.SR)) out.sr = view(txn, vdi.SR, *sr);
    for (const Ref<xenapi::Vbd> vbd : vdi.VBDs) {
        const xenapi::Vbd* row = txn.find(vbd);
        if (row == nullptr || !(row->currently_attached || row->reserved)) continue;
        out.attached = true;
        out.attached_for_writing |= row->mode == xenapi::VbdMode::rw;
    }
    // The database is copied to it.
    if (vdi.metadata_of_pool) out.attached = out.attached_for_writing = true;
    out.current = as_std_map(vdi.current_operations);
    return out;
}

}  // namespace basalt::domain
