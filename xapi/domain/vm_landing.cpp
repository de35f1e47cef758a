#include "xapi/domain/vm_landing.hpp"

#include <algorithm>
#include <set>

#include "idl/records/console.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm_guest_metrics.hpp"
#include "idl/records/vm_metrics.hpp"
#include "idl/records/vusb.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_domain = -1;

VmPowerState power_state_of(agent::DomainPower power) {
    switch (power) {
        case agent::DomainPower::running:
            return VmPowerState::running;
        case agent::DomainPower::paused:
            return VmPowerState::paused;
        case agent::DomainPower::suspended:
            return VmPowerState::suspended;
        case agent::DomainPower::halted:
            break;
    }
    return VmPowerState::halted;
}

void make_console(core::Core& core, db::Txn& txn, Ref<Vm> vm, const std::string& address,
                  ConsoleProtocol protocol) {
    for (const auto console : txn.get(vm).consoles)
        if (txn.get(console).protocol == protocol) return;
    Console row;
    row.uuid = core.new_uuid();
    row.VM = vm;
    row.protocol = protocol;
    row.location = "https://" + address + "/console?uuid=" + row.uuid;
    txn.insert(std::move(row));
}

void erase_consoles(db::Txn& txn, Ref<Vm> vm) {
    for (const auto console : std::vector(txn.get(vm).consoles))
        txn.erase(console);
}

void land_devices(db::Txn& txn, Ref<Vm> vm, const agent::DomainInfo& domain) {
    const std::set<std::string> disks(domain.plugged_disks.begin(), domain.plugged_disks.end());
    const std::set<std::int64_t> nics(domain.plugged_nics.begin(), domain.plugged_nics.end());
    for (const auto vbd : std::vector(txn.get(vm).VBDs)) {
        Vbd& row = txn.edit(vbd);
        const std::string device = disk_name(disk_position(row.userdevice));
        row.currently_attached = disks.contains(device);
        if (row.currently_attached) row.device = device;
    }
    for (const auto vif : std::vector(txn.get(vm).VIFs)) {
        Vif& row = txn.edit(vif);
        row.currently_attached = nics.contains(std::strtoll(row.device.c_str(), nullptr, 10));
    }
    for (const auto vusb : std::vector(txn.get(vm).VUSBs))
        txn.edit(vusb).currently_attached =
            std::ranges::contains(domain.plugged_usbs, txn.get(vusb).uuid);
}

void land_metrics(core::Core& core, db::Txn& txn, const Vm& vm, const agent::DomainInfo& domain) {
    if (txn.find(vm.metrics) == nullptr) return;
    VmMetrics& metrics = txn.edit(vm.metrics);
    metrics.memory_actual = domain.memory_bytes;
    metrics.VCPUs_number = domain.vcpus;
    metrics.start_time = DateTime{domain.started_at};
    metrics.last_updated = DateTime{core.now_seconds()};
    metrics.hvm = is_hvm(vm);
    metrics.current_domain_type = domain_type_of(vm);
    metrics.state = {domain.power == agent::DomainPower::running ? "running" : "paused"};
}

void land_no_metrics(core::Core& core, db::Txn& txn, const Vm& vm) {
    if (txn.find(vm.metrics) == nullptr) return;
    VmMetrics& metrics = txn.edit(vm.metrics);
    metrics.memory_actual = 0;
    metrics.VCPUs_number = 0;
    metrics.state.clear();
    metrics.current_domain_type = DomainType::unspecified;
    metrics.last_updated = DateTime{core.now_seconds()};
}

void leave_host(db::Txn& txn, Ref<Vm> vm) {
    end_promise(txn, vm);
    Vm& row = txn.edit(vm);
    row.resident_on = {};
    row.domid = no_domain;
}

// The image of a guest that sleeps no more is garbage: it belongs to nobody until it is destroyed.
void drop_image(db::Txn& txn, Ref<Vm> vm) {
    const Ref<Vdi> image = txn.get(vm).suspend_VDI;
    if (!image) return;
    txn.edit(vm).suspend_VDI = {};
    if (txn.find(image) != nullptr) txn.edit(image).provisional = true;
}

}  // namespace

void end_promise(db::Txn& txn, Ref<Vm> vm) {
    Vm& row = txn.edit(vm);
    row.scheduled_to_be_resident_on = {};
    if (row.power_state == VmPowerState::halted) row.memory_target = 0;
    for (const auto vbd : std::vector(txn.get(vm).VBDs))
        txn.edit(vbd).reserved = false;
}

void land_running(core::Core& core, db::Txn& txn, Ref<Vm> ref, Ref<Host> host,
                  const agent::DomainInfo& domain) {
    end_promise(txn, ref);
    drop_image(txn, ref);
    Vm& vm = txn.edit(ref);
    vm.power_state = power_state_of(domain.power);
    vm.resident_on = host;
    vm.domid = domain.domid;
    vm.domarch = "x64";
    vm.memory_target =
        domain.memory_target_bytes > 0 ? domain.memory_target_bytes : domain.memory_bytes;
    vm.requires_reboot = false;
    const std::string address = txn.get(host).address;
    land_devices(txn, ref, domain);
    make_console(core, txn, ref, address, ConsoleProtocol::rfb);
    make_console(core, txn, ref, address, ConsoleProtocol::vt100);
    land_metrics(core, txn, txn.get(ref), domain);
}

void land_halted(core::Core& core, db::Txn& txn, Ref<Vm> ref) {
    leave_host(txn, ref);
    drop_image(txn, ref);
    Vm& vm = txn.edit(ref);
    vm.power_state = VmPowerState::halted;
    vm.memory_target = 0;
    erase_consoles(txn, ref);
    for (const auto vbd : std::vector(txn.get(ref).VBDs)) {
        txn.edit(vbd).currently_attached = false;
    }
    for (const auto vif : std::vector(txn.get(ref).VIFs)) {
        txn.edit(vif).currently_attached = false;
        txn.edit(vif).reserved = false;
    }
    for (const auto vusb : std::vector(txn.get(ref).VUSBs))
        txn.edit(vusb).currently_attached = false;
    land_no_metrics(core, txn, txn.get(ref));
    if (const auto guest = txn.get(ref).guest_metrics; txn.find(guest) != nullptr) {
        txn.edit(ref).guest_metrics = {};
        txn.erase(guest);
    }
}

void land_suspended(core::Core& core, db::Txn& txn, Ref<Vm> ref, Ref<Vdi> image) {
    leave_host(txn, ref);
    Vm& vm = txn.edit(ref);
    vm.power_state = VmPowerState::suspended;
    vm.suspend_VDI = image;
    // Its disks stay attached in the records: nobody else may write to what the sleeping guest
    // relies on.
    erase_consoles(txn, ref);
    land_no_metrics(core, txn, txn.get(ref));
}

void land_memory(core::Core& core, db::Txn& txn, Ref<Vm> vm, const agent::MemoryFacts& facts) {
    const Ref<VmMetrics> ref = txn.get(vm).metrics;
    if (txn.find(ref) == nullptr) return;
    VmMetrics& metrics = txn.edit(ref);
    metrics.memory_actual = facts.actual_bytes;
    metrics.last_updated = DateTime{core.now_seconds()};
}

void land_guest_facts(core::Core& core, db::Txn& txn, Ref<Vm> vm, const agent::GuestFacts& facts) {
    Ref<VmGuestMetrics> ref = txn.get(vm).guest_metrics;
    if (txn.find(ref) == nullptr) {
        ref = txn.insert(VmGuestMetrics{});
        txn.edit(vm).guest_metrics = ref;
    }
    VmGuestMetrics& row = txn.edit(ref);
    row.live = facts.agent;
    row.last_updated = DateTime{core.now_seconds()};
    row.os_version = {};
    for (const auto& [key, value] : facts.os)
        row.os_version.insert_or_assign(key, value);
    row.networks = {};
    for (const auto& [key, value] : facts.networks)
        row.networks.insert_or_assign(key, value);
    row.PV_drivers_version = {};
    for (const auto& [key, value] : facts.drivers)
        row.PV_drivers_version.insert_or_assign(key, value);
    row.PV_drivers_detected = facts.agent;
    row.PV_drivers_up_to_date = facts.agent;
    row.other = {};
    for (const auto& [key, value] : facts.features)
        row.other.insert_or_assign(key, value);
    if (!facts.hostname.empty()) row.netbios_name = {{"host_name", facts.hostname}};
    if (facts.memory_total_bytes > 0)
        row.memory = {{"total", std::to_string(facts.memory_total_bytes)},
                      {"free", std::to_string(facts.memory_free_bytes)}};
    row.can_use_hotplug_vbd = facts.agent ? TristateType::yes : TristateType::unspecified;
    row.can_use_hotplug_vif = facts.agent ? TristateType::yes : TristateType::unspecified;
}

}  // namespace basalt::domain
