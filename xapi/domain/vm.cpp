#include "xapi/domain/vm.hpp"

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/console.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_guest_metrics.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t vbd_devices_max = 255;
constexpr std::int64_t vif_devices_max = 16;

template <class T>
void add_key(Call& call, Ref<Vm> self, T Vm::* field, const char* name,
             const typename T::key_type& key, const std::string& shown, std::string value) {
    call.db().transact([&](db::Txn& txn) {
        T& map = txn.edit(self).*field;
        if (!map.emplace(key, std::move(value)).second)
            throw err::map_duplicate_key("VM", name, self, shown);
    });
}

template <class T>
void set_field(Call& call, Ref<Vm> self, T Vm::* field, T value) {
    call.db().transact([&](db::Txn& txn) { txn.edit(self).*field = std::move(value); });
}

void require_not_negative(const char* name, std::int64_t value) {
    if (value < 0) throw err::invalid_value(name, value);
}

template <class R>
void erase_if_there(db::Txn& txn, Ref<R> ref) {
    if (txn.find(ref) != nullptr) txn.erase(ref);
}

}  // namespace

Task<Ref<Vm>> VmDomain::create(Call& call, VmCreate params) {
    Vm vm = std::move(params.args);
    require_vcpu_order(vm.VCPUs_at_startup, vm.VCPUs_max, vm.VCPUs_at_startup);
    require_memory_order(vm);
    if (!vm.other_config.contains(std::string("mac_seed")))
        vm.other_config.insert_or_assign("mac_seed", core_.new_uuid());
    // What only the server knows starts as it is for a halted VM, whatever the record said.
    vm.power_state = VmPowerState::halted;
    vm.suspend_VDI = {};
    vm.blocked_operations.clear();
    vm.domid = -1;
    vm.domain_type = domain_type_of(vm);
    vm.memory_overhead = memory_overhead_bytes(vm);
    vm.hardware_platform_version =
        std::max<std::int64_t>(vm.hardware_platform_version, is_hvm(vm) ? 2 : 0);
    co_return call.db().transact([&](db::Txn& txn) {
        VmMetrics metrics;
        metrics.hvm = is_hvm(vm);
        metrics.current_domain_type = DomainType::unspecified;
        vm.metrics = txn.insert(std::move(metrics));
        return txn.insert(std::move(vm));
    });
}

Task<void> VmDomain::destroy(Call& call, VmDestroy params) {
    const Ref<Vm> self = params.self;
    core::Operation operation(call);
    const Vm row = call.db().get(self);
    const Ref<Vdi> image = call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(self);
        if (vm.is_default_template) throw err::vm_cannot_delete_default_template(self);
        require(txn, self, VmOperations::destroy);
        operation.mark(txn, self, VmOperations::destroy);
        return vm.suspend_VDI;
    });
    call.db().transact([&](db::Txn& txn) {
        const Vm vm = txn.get(self);
        const bool has_image = image && txn.find(image) != nullptr;
        if (has_image) txn.edit(image).provisional = true;
        for (const auto vbd : vm.VBDs)
            erase_if_there(txn, vbd);
        for (const auto vif : vm.VIFs)
            erase_if_there(txn, vif);
        for (const auto console : vm.consoles)
            erase_if_there(txn, console);
        erase_vtpms(txn, vm);
        erase_vusbs(txn, vm);
        operation.unmark(txn);
        txn.erase(self);
        erase_if_there(txn, vm.metrics);
        erase_if_there(txn, vm.guest_metrics);
        call.succeed(txn);
    });
    if (image) co_await storage_.discard(image)->wait();
    co_await purge(call, row);
}

// What hosts keep of a guest that is off: the variables of its firmware, the contents of its TPM.
Task<void> VmDomain::purge(Call& call, Vm gone) {
    if (gone.HVM_boot_params.get(std::string("firmware")) != "uefi" && gone.VTPMs.empty())
        co_return;
    std::vector<Ref<Host>> hosts;
    core_.db.each<Host>([&](Ref<Host> host, const Host&) {
        if (core_.hosts->connected(host)) hosts.push_back(host);
    });
    for (const Ref<Host> host : hosts) {
        try {
            co_await core_.hosts->agent(host).vm_purge(call.operation(), {gone.uuid});
        } catch (const ApiError& error) {
            log::warn("vm_not_purged", {{"vm", gone.uuid}, {"error", error.what()}});
        }
    }
}

Task<std::vector<std::string>> VmDomain::get_allowed_VBD_devices(Call& call,
                                                                 VmGetAllowedVbdDevices params) {
    std::set<std::int64_t> used;
    for (const auto vbd : call.db().get(params.vm).VBDs)
        if (const Vbd* row = call.db().find(vbd)) used.insert(disk_position(row->userdevice));
    std::vector<std::string> free;
    for (std::int64_t device = 0; device < vbd_devices_max; ++device)
        if (!used.contains(device)) free.push_back(std::to_string(device));
    co_return free;
}

Task<std::vector<std::string>> VmDomain::get_allowed_VIF_devices(Call& call,
                                                                 VmGetAllowedVifDevices params) {
    std::set<std::string> used;
    for (const auto vif : call.db().get(params.vm).VIFs)
        if (const Vif* row = call.db().find(vif)) used.insert(row->device);
    std::vector<std::string> free;
    for (std::int64_t device = 0; device < vif_devices_max; ++device)
        if (!used.contains(std::to_string(device))) free.push_back(std::to_string(device));
    co_return free;
}

Task<void> VmDomain::assert_operation_valid(Call& call, VmAssertOperationValid params) {
    call.db().transact([&](db::Txn& txn) { require(txn, params.self, params.op); });
    co_return;
}

Task<void> VmDomain::update_allowed_operations(Call& call, VmUpdateAllowedOperations params) {
    call.db().transact([&](db::Txn& txn) { txn.touch(params.self); });
    co_return;
}

Task<void> VmDomain::set_is_a_template(Call& call, VmSetIsATemplate params) {
    call.db().transact([&](db::Txn& txn) {
        const Vm& vm = txn.get(params.self);
        if (params.value && !vm.is_a_template)
            require(txn, params.self, VmOperations::make_into_template);
        if (!params.value && vm.is_a_snapshot)
            throw err::vm_is_snapshot(params.self, "set_is_a_template");
        Vm& edited = txn.edit(params.self);
        edited.is_a_template = params.value;
        if (!params.value) edited.is_default_template = false;
    });
    co_return;
}

Task<void> VmDomain::set_is_default_template(Call& call, VmSetIsDefaultTemplate params) {
    call.db().transact([&](db::Txn& txn) {
        if (params.value && !txn.get(params.vm).is_a_template)
            throw err::operation_not_allowed("Only a template can be a default template");
        txn.edit(params.vm).is_default_template = params.value;
    });
    co_return;
}

Task<void> VmDomain::set_HVM_boot_policy(Call& call, VmSetHvmBootPolicy params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).power_state != VmPowerState::halted)
            throw err::vm_bad_power_state(
                params.self, "halted", rules::power_state_text(txn.get(params.self).power_state));
        Vm& vm = txn.edit(params.self);
        vm.HVM_boot_policy = params.value;
        vm.domain_type = params.value.empty() ? DomainType::pv : DomainType::hvm;
        vm.memory_overhead = memory_overhead_bytes(vm);
    });
    co_return;
}

Task<void> VmDomain::set_domain_type(Call& call, VmSetDomainType params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).power_state != VmPowerState::halted)
            throw err::vm_bad_power_state(
                params.self, "halted", rules::power_state_text(txn.get(params.self).power_state));
        Vm& vm = txn.edit(params.self);
        vm.domain_type = params.value;
        vm.HVM_boot_policy = params.value == DomainType::hvm ? "BIOS order" : "";
    });
    co_return;
}

Task<void> VmDomain::set_actions_after_crash(Call& call, VmSetActionsAfterCrash params) {
    set_field(call, params.self, &Vm::actions_after_crash, params.value);
    co_return;
}

Task<void> VmDomain::set_other_config(Call& call, VmSetOtherConfig params) {
    set_field(call, params.self, &Vm::other_config, std::move(params.value));
    co_return;
}

Task<void> VmDomain::add_to_other_config(Call& call, VmAddToOtherConfig params) {
    add_key(call, params.self, &Vm::other_config, "other_config", params.key, params.key,
            params.value);
    co_return;
}

Task<void> VmDomain::remove_from_other_config(Call& call, VmRemoveFromOtherConfig params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).other_config.erase(params.key); });
    co_return;
}

Task<void> VmDomain::set_platform(Call& call, VmSetPlatform params) {
    set_field(call, params.self, &Vm::platform, std::move(params.value));
    co_return;
}

Task<void> VmDomain::add_to_platform(Call& call, VmAddToPlatform params) {
    add_key(call, params.self, &Vm::platform, "platform", params.key, params.key, params.value);
    co_return;
}

Task<void> VmDomain::remove_from_platform(Call& call, VmRemoveFromPlatform params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).platform.erase(params.key); });
    co_return;
}

Task<void> VmDomain::set_blocked_operations(Call& call, VmSetBlockedOperations params) {
    set_field(call, params.self, &Vm::blocked_operations, std::move(params.value));
    co_return;
}

Task<void> VmDomain::add_to_blocked_operations(Call& call, VmAddToBlockedOperations params) {
    add_key(call, params.self, &Vm::blocked_operations, "blocked_operations", params.key,
            std::string(wire_text(params.key)), params.value);
    co_return;
}

Task<void> VmDomain::remove_from_blocked_operations(Call& call,
                                                    VmRemoveFromBlockedOperations params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).blocked_operations.erase(params.key); });
    co_return;
}

// Kept for the next start: the QEMU backend has no xenstore that a running guest could watch.
Task<void> VmDomain::set_xenstore_data(Call& call, VmSetXenstoreData params) {
    set_field(call, params.self, &Vm::xenstore_data, std::move(params.value));
    co_return;
}

Task<void> VmDomain::add_to_xenstore_data(Call& call, VmAddToXenstoreData params) {
    add_key(call, params.self, &Vm::xenstore_data, "xenstore_data", params.key, params.key,
            params.value);
    co_return;
}

Task<void> VmDomain::remove_from_xenstore_data(Call& call, VmRemoveFromXenstoreData params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).xenstore_data.erase(params.key); });
    co_return;
}

Task<void> VmDomain::set_NVRAM(Call& call, VmSetNvram params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_nvram);
        txn.edit(params.self).NVRAM = std::move(params.value);
    });
    co_return;
}

Task<void> VmDomain::add_to_NVRAM(Call& call, VmAddToNvram params) {
    call.db().transact(
        [&](db::Txn& txn) { require(txn, params.self, VmOperations::changing_nvram); });
    add_key(call, params.self, &Vm::NVRAM, "NVRAM", params.key, params.key, params.value);
    co_return;
}

Task<void> VmDomain::remove_from_NVRAM(Call& call, VmRemoveFromNvram params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_nvram);
        txn.edit(params.self).NVRAM.erase(params.key);
    });
    co_return;
}

Task<void> VmDomain::set_start_delay(Call& call, VmSetStartDelay params) {
    require_not_negative("start_delay", params.value);
    set_field(call, params.self, &Vm::start_delay, params.value);
    co_return;
}

Task<void> VmDomain::set_shutdown_delay(Call& call, VmSetShutdownDelay params) {
    require_not_negative("shutdown_delay", params.value);
    set_field(call, params.self, &Vm::shutdown_delay, params.value);
    co_return;
}

Task<void> VmDomain::set_order(Call& call, VmSetOrder params) {
    require_not_negative("order", params.value);
    set_field(call, params.self, &Vm::order, params.value);
    co_return;
}

Task<void> VmDomain::set_has_vendor_device(Call& call, VmSetHasVendorDevice params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).power_state != VmPowerState::halted)
            throw err::vm_bad_power_state(
                params.self, "halted", rules::power_state_text(txn.get(params.self).power_state));
        txn.edit(params.self).has_vendor_device = params.value;
    });
    co_return;
}

Task<void> VmDomain::set_ha_restart_priority(Call& call, VmSetHaRestartPriority params) {
    if (params.value != "restart" && params.value != "best-effort" && !params.value.empty())
        throw err::invalid_value("ha_restart_priority", params.value);
    set_field(call, params.self, &Vm::ha_restart_priority, params.value);
    co_return;
}

}  // namespace basalt::domain
