// Class VM: settings that few use, and what is told of them.
#include <algorithm>
#include <array>
#include <string_view>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_appliance.hpp"
#include "idl/records/vm_group.hpp"
#include "idl/records/vm_guest_metrics.hpp"
#include "idl/records/vmss.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::size_t bios_string_max = 512;
constexpr std::array<std::string_view, 12> bios_keys = {"bios-vendor",
                                                        "bios-version",
                                                        "system-manufacturer",
                                                        "system-product-name",
                                                        "system-version",
                                                        "system-serial-number",
                                                        "baseboard-manufacturer",
                                                        "baseboard-product-name",
                                                        "baseboard-version",
                                                        "baseboard-serial-number",
                                                        "baseboard-asset-tag",
                                                        "enclosure-asset-tag"};

// Plain text: it ends up in tables that firmware and guests parse.
bool is_bios_text(const std::string& text) {
    return !text.empty() && text.size() <= bios_string_max && text.front() != ' ' &&
           text.back() != ' ' &&
           std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

void require_own(const db::Txn& txn, Ref<Vm> self, std::string_view what) {
    const Vm& vm = txn.get(self);
    if (vm.is_a_snapshot) throw err::vm_is_snapshot(self, what);
    if (vm.is_a_template) throw err::vm_is_template(self, what);
    if (vm.is_control_domain)
        throw err::operation_not_allowed("This operation is not allowed on the control domain");
}

// Every host has an interface in it, or none needs one.
bool is_shared(const db::Txn& txn, const Network& network) {
    if (network.PIFs.empty()) return true;
    bool shared = true;
    txn.each<Host>([&](Ref<Host> host, const Host&) {
        shared = shared && std::ranges::any_of(network.PIFs, [&](Ref<Pif> pif) {
                     const Pif* row = txn.find(pif);
                     return row != nullptr && row->host == host && row->currently_attached;
                 });
    });
    return shared;
}

}  // namespace

Task<void> VmDomain::set_appliance(Call& call, VmSetAppliance params) {
    call.db().transact([&](db::Txn& txn) {
        require_own(txn, params.self, "set_appliance");
        if (params.value) (void)txn.get(params.value);
        txn.edit(params.self).appliance = params.value;
    });
    co_return;
}

Task<void> VmDomain::set_snapshot_schedule(Call& call, VmSetSnapshotSchedule params) {
    call.db().transact([&](db::Txn& txn) {
        require_own(txn, params.self, "set_snapshot_schedule");
        if (params.value) (void)txn.get(params.value);
        txn.edit(params.self).snapshot_schedule = params.value;
    });
    co_return;
}

Task<void> VmDomain::set_groups(Call& call, VmSetGroups params) {
    if (params.value.size() > 1) throw err::operation_not_allowed("A VM can be in one group only");
    call.db().transact([&](db::Txn& txn) {
        for (const Ref<VmGroup> group : params.value)
            (void)txn.get(group);
        txn.edit(params.self).groups = params.value;
    });
    co_return;
}

Task<void> VmDomain::set_bios_strings(Call& call, VmSetBiosStrings params) {
    for (const auto& [key, value] : params.value)
        if (!std::ranges::contains(bios_keys, key) || !is_bios_text(value))
            throw err::invalid_value(key, value);
    call.db().transact([&](db::Txn& txn) {
        if (!txn.get(params.self).bios_strings.empty()) throw err::vm_bios_strings_already_set();
        txn.edit(params.self).bios_strings = std::move(params.value);
    });
    co_return;
}

Task<void> VmDomain::copy_bios_strings(Call& call, VmCopyBiosStrings params) {
    call.db().transact([&](db::Txn& txn) {
        const Host& host = txn.get(params.host);
        if (!txn.get(params.vm).bios_strings.empty()) throw err::vm_bios_strings_already_set();
        txn.edit(params.vm).bios_strings = host.bios_strings;
    });
    co_return;
}

Task<void> VmDomain::set_NVRAM_EFI_variables(Call& call, VmSetNvramEfiVariables params) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(params.self).NVRAM.insert_or_assign("EFI-variables", std::move(params.value));
    });
    co_return;
}

Task<Vm> VmDomain::get_boot_record(Call& call, VmGetBootRecord params) {
    co_return call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::get_boot_record);
        return txn.get(params.self);
    });
}

Task<Map<std::string, std::string>> VmDomain::query_services(Call& call, VmQueryServices params) {
    co_return call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::query_services);
        const VmGuestMetrics* guest = txn.find(txn.get(params.self).guest_metrics);
        return guest != nullptr ? guest->services : Map<std::string, std::string>{};
    });
}

Task<void> VmDomain::update_snapshot_metadata(Call& call, VmUpdateSnapshotMetadata params) {
    call.db().transact([&](db::Txn& txn) {
        Vm& vm = txn.edit(params.vm);
        vm.is_a_snapshot = true;
        vm.snapshot_of = params.snapshot_of;
        vm.snapshot_time = params.snapshot_time;
        vm.transportable_snapshot_id = std::move(params.transportable_snapshot_id);
    });
    co_return;
}

Task<Ref<Blob>> VmDomain::create_new_blob(Call& call, VmCreateNewBlob params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return attach_blob(txn, params.vm,
                           {std::move(params.name), std::move(params.mime_type), params.public_});
    });
}

Task<void> VmDomain::atomic_set_resident_on(Call& call, VmAtomicSetResidentOn params) {
    call.db().transact([&](db::Txn& txn) {
        if (params.host) (void)txn.get(params.host);
        Vm& row = txn.edit(params.vm);
        row.resident_on = params.host;
        row.scheduled_to_be_resident_on = {};
    });
    co_return;
}

// Another disk may take its place only if it holds the very same memory.
Task<void> VmDomain::set_suspend_VDI(Call& call, VmSetSuspendVdi params) {
    const Vm vm = call.db().get(params.self);
    if (vm.power_state != VmPowerState::suspended)
        throw err::vm_bad_power_state(params.self, "suspended",
                                      rules::power_state_text(vm.power_state));
    const Vdi next = call.db().get(params.value);
    if (vm.suspend_VDI == params.value) co_return;
    const Vdi* now = call.db().find(vm.suspend_VDI);
    if (now == nullptr) throw err::vm_has_no_suspend_vdi(params.self);
    const std::string old = now->uuid + " : " + co_await storage_.checksum(call, vm.suspend_VDI);
    const std::string sum = co_await storage_.checksum(call, params.value);
    if (!old.ends_with(" : " + sum))
        throw err::suspend_vdi_replacement_is_not_identical(old, next.uuid + " : " + sum);
    call.db().transact([&](db::Txn& txn) {
        const Vm& row = txn.get(params.self);
        if (row.suspend_VDI != vm.suspend_VDI)
            throw err::vm_bad_power_state(params.self, "suspended",
                                          rules::power_state_text(row.power_state));
        (void)txn.get(params.value);
        txn.edit(params.self).suspend_VDI = params.value;
    });
}

// Guests of ours have no agent that could run the tool: what is missing is told, in this order.
Task<void> VmDomain::sysprep(Call& call, VmSysprep params) {
    constexpr std::size_t answers_bytes_max = std::size_t{32} << 10;
    if (params.timeout < 0) throw err::invalid_value("timeout", std::to_string(params.timeout));
    if (params.unattend.reveal().size() > answers_bytes_max)
        throw err::sysprep(params.self, "UNATTEND.xml too large");
    call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(params.self);
        if (vm.power_state != VmPowerState::running)
            throw err::sysprep(params.self, "VM is not running");
        throw err::sysprep(params.self, "VM misses feature-sysprep");
    });
    co_return;
}

Task<void> VmDomain::assert_agile(Call& call, VmAssertAgile params) {
    call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(params.self);
        for (const auto vbd : vm.VBDs) {
            const Vdi* disk = txn.find(txn.get(vbd).VDI);
            const Sr* sr = disk != nullptr ? txn.find(disk->SR) : nullptr;
            if (sr != nullptr && !sr->shared)
                throw err::ha_constraint_violation_sr_not_shared(disk->SR);
        }
        for (const auto vif : vm.VIFs) {
            const Ref<Network> network = txn.get(vif).network;
            if (!is_shared(txn, txn.get(network)))
                throw err::ha_constraint_violation_network_not_shared(network);
        }
        if (!vm.attached_PCIs.empty()) throw err::vm_has_pci_attached(params.self);
        if (!vm.VGPUs.empty()) throw err::vm_has_vgpu(params.self);
        if (!vm.VUSBs.empty()) throw err::vm_has_vusbs(params.self);
    });
    co_return;
}

}  // namespace basalt::domain
