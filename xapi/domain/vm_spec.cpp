#include "xapi/domain/vm_spec.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ranges>
#include <string_view>

#include "base/log.hpp"
#include "idl/records/network.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/domain/cloud_init.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"
#include "xapi/rules/vcpu_params.hpp"

namespace basalt::domain {

namespace {

std::int64_t number_or(const std::string& text, std::int64_t fallback) {
    std::int64_t number = fallback;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> out;
    for (const auto part : std::views::split(std::string_view(text), ' '))
        if (!part.empty()) out.emplace_back(part.begin(), part.end());
    return out;
}

agent::BootSpec boot_spec(const Vm& vm) {
    agent::BootSpec boot;
    boot.paravirtual = domain_type_of(vm) == DomainType::pv;
    if (!is_hvm(vm) && !vm.PV_bootloader.empty()) {
        boot.bootloader = vm.PV_bootloader;
        boot.bootloader_args = words_of(vm.PV_bootloader_args);
        boot.args = vm.PV_args;
    } else if (!is_hvm(vm) && !vm.PV_kernel.empty()) {
        boot.kind = agent::BootKind::kernel;
        boot.kernel = vm.PV_kernel;
        boot.ramdisk = vm.PV_ramdisk;
        boot.args = vm.PV_args;
        return boot;
    }
    boot.kind = agent::BootKind::firmware;
    boot.firmware = vm.HVM_boot_params.get(std::string("firmware")) == "uefi"
                        ? agent::Firmware::uefi
                        : agent::Firmware::bios;
    boot.order = vm.HVM_boot_params.get(std::string("order"), "cd");
    return boot;
}

agent::OnHalt on_crash(OnCrashBehaviour behaviour) {
    switch (behaviour) {
        case OnCrashBehaviour::restart:
        case OnCrashBehaviour::coredump_and_restart:
        case OnCrashBehaviour::rename_restart:
            return agent::OnHalt::restart;
        case OnCrashBehaviour::preserve:
            return agent::OnHalt::preserve;
        default:
            return agent::OnHalt::destroy;
    }
}

bool dumps_core(OnCrashBehaviour behaviour) {
    return behaviour == OnCrashBehaviour::coredump_and_destroy ||
           behaviour == OnCrashBehaviour::coredump_and_restart;
}

// The field takes any text; of the guest's part of the store only this much is for clients.
std::map<std::string, std::string> store_nodes(const Vm& vm) {
    constexpr std::size_t path_bytes_max = 256;
    constexpr std::size_t value_bytes_max = 2048;
    const auto fits = [](const std::string& path) {
        return path.starts_with("vm-data/") && path.size() <= path_bytes_max &&
               !path.ends_with('/') && !path.contains("//") &&
               std::ranges::all_of(path, [](char c) {
                   return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                          std::string_view("-/_@").contains(c);
               });
    };
    std::map<std::string, std::string> out;
    for (const auto& [path, value] : vm.xenstore_data) {
        if (fits(path) && value.size() <= value_bytes_max && !value.contains('\0'))
            out.emplace(path, value);
        else
            log::warn("xenstore_data_ignored", {{"vm", vm.uuid}, {"key", path.substr(0, 64)}});
    }
    return out;
}

agent::OnHalt on_exit(OnNormalExit exit) {
    return exit == OnNormalExit::restart ? agent::OnHalt::restart : agent::OnHalt::destroy;
}

bool is_disabled(const db::Txn& txn, const Vif& vif) {
    if (vif.locking_mode == VifLockingMode::disabled) return true;
    return vif.locking_mode == VifLockingMode::network_default &&
           txn.get(vif.network).default_locking_mode == NetworkDefaultLockingMode::disabled;
}

}  // namespace

agent::CpuShares cpu_shares(const Vm& vm) {
    rules::VcpuParams params;
    for (const auto& [key, value] : vm.VCPUs_params) {
        try {
            rules::take_vcpu_param(params, key, value);
        } catch (const ApiError& error) {
            // The field takes any text; what nobody understands must not keep a guest off.
            log::warn("vcpu_param_ignored", {{"vm", vm.uuid}, {"error", error.what()}});
        }
    }
    return {
        .weight = params.weight, .cap_percent = params.cap_percent, .mask = std::move(params.mask)};
}

agent::DiskRef disk_ref(const db::Txn& txn, Ref<Vdi> disk) {
    const Vdi& row = txn.get(disk);
    return {.sr = txn.get(row.SR).uuid, .vdi = row.uuid, .location = row.location};
}

agent::DiskSpec disk_spec(const db::Txn& txn, Ref<Vbd> vbd) {
    const Vbd& row = txn.get(vbd);
    agent::DiskSpec spec;
    spec.vbd = row.uuid;
    spec.position = disk_position(row.userdevice);
    spec.device = disk_name(spec.position);
    spec.kind = row.type == VbdType::cd ? agent::DiskKind::cd : agent::DiskKind::disk;
    spec.access =
        row.mode == VbdMode::rw && row.type != VbdType::cd ? agent::Access::rw : agent::Access::ro;
    spec.bootable = row.bootable;
    if (!row.empty && row.VDI) spec.disk = disk_ref(txn, row.VDI);
    return spec;
}

agent::NicSpec nic_spec(const db::Txn& txn, Ref<Vif> vif) {
    return nic_spec(txn, txn.get(vif));
}

agent::NicSpec nic_spec(const db::Txn& txn, const Vif& row) {
    return {.vif = row.uuid,
            .device = number_or(row.device, 0),
            .mac = row.MAC,
            .bridge = txn.get(row.network).bridge,
            .mtu = row.MTU,
            .locked = row.locking_mode == VifLockingMode::locked,
            .ipv4 = row.ipv4_allowed,
            .ipv6 = row.ipv6_allowed,
            .disabled = is_disabled(txn, row),
            .trunks = row.trunks};
}

agent::VmSpec vm_spec(const db::Txn& txn, Ref<Vm> ref) {
    const Vm& vm = txn.get(ref);
    agent::VmSpec spec;
    spec.uuid = vm.uuid;
    spec.name = vm.name_label;
    spec.memory_bytes = vm.memory_static_max;
    spec.memory_target_bytes =
        std::clamp(vm.memory_target > 0 ? vm.memory_target : vm.memory_dynamic_max,
                   std::min(vm.memory_dynamic_min, vm.memory_static_max), vm.memory_static_max);
    spec.vcpus_max = vm.VCPUs_max;
    spec.vcpus = vm.VCPUs_at_startup;
    spec.cpu = cpu_shares(vm);
    spec.boot = boot_spec(vm);
    spec.bios_strings = {vm.bios_strings.begin(), vm.bios_strings.end()};
    spec.seed = cloud_init_drive(txn, vm);
    spec.tpm = !vm.VTPMs.empty();
    spec.platform = {vm.platform.begin(), vm.platform.end()};
    for (const auto vbd : vm.VBDs) {
        const Vbd& row = txn.get(vbd);
        if (row.VDI || row.type == VbdType::cd) spec.disks.push_back(disk_spec(txn, vbd));
    }
    for (const auto vif : vm.VIFs)
        spec.nics.push_back(nic_spec(txn, vif));
    spec.usbs =
        usb_specs(txn, vm, vm.resident_on ? vm.resident_on : vm.scheduled_to_be_resident_on);
    spec.on_shutdown = on_exit(vm.actions_after_shutdown);
    spec.on_reboot = on_exit(vm.actions_after_reboot);
    spec.on_crash = on_crash(vm.actions_after_crash);
    spec.core_dump = dumps_core(vm.actions_after_crash);
    spec.xenstore = store_nodes(vm);
    spec.rtc_offset_seconds = number_or(vm.platform.get(std::string("timeoffset")), 0);
    return spec;
}

}  // namespace basalt::domain
