#include "host-agent/core/calls.hpp"

#include "base/log.hpp"
#include "hypervisor/api/live_migration.hpp"
#include "hypervisor/api/state_keeper.hpp"
#include "hypervisor/api/usb_passthrough.hpp"
#include "hypervisor/api/whole_machine.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

[[noreturn]] void refuse_unplanned(const char* verb) {
    throw err::internal_error(std::string(verb) + " needs a plan");
}

// What the control domain sees of the machine is its own part.
void replace_machine(HostFacts& facts, hv::WholeMachine machine) {
    facts.cpu_count = machine.cpu_count;
    facts.cpu_sockets = machine.cpu_sockets;
    facts.cpu_threads_per_core = machine.cpu_threads_per_core;
    facts.cpu_mhz = machine.cpu_mhz;
    facts.numa_nodes = machine.numa_nodes;
    facts.memory_total_bytes = machine.memory_total_bytes;
    facts.memory_free_bytes = machine.memory_free_bytes;
    facts.iommu = machine.iommu;
    facts.capabilities = std::move(machine.capabilities);
}

}  // namespace

hv::DomId Calls::domid_or_throw(const std::string& vm) const {
    if (const auto info = backends_.hypervisor.domain(vm)) return info->domid;
    throw err::vm_bad_power_state(vm, "running", "halted");
}

Task<HostFacts> Calls::hello(HelloArgs args) {
    log::info("xapi_connected", {{"version", args.xapi_version}});
    return host_facts({});
}

Task<HostFacts> Calls::host_facts(HostFactsArgs) {
    HostFacts facts = co_await backends_.services.facts();
    hv::Hypervisor::Facts hypervisor = co_await backends_.hypervisor.facts();
    facts.hypervisor = std::move(hypervisor.name);
    facts.hypervisor_version = std::move(hypervisor.version);
    facts.accelerated = hypervisor.accelerated;
    if (auto* const seer = dynamic_cast<hv::MachineSeer*>(&backends_.hypervisor))
        replace_machine(facts, co_await seer->whole_machine());
    if (auto* const mover = dynamic_cast<hv::LiveMigration*>(&backends_.hypervisor))
        facts.movable_kinds = co_await mover->movable_kinds();
    facts.gives_tpms = dynamic_cast<hv::StateKeeper*>(&backends_.hypervisor) != nullptr;
    facts.gives_usb = dynamic_cast<hv::UsbPassthrough*>(&backends_.hypervisor) != nullptr;
    facts.network_backend = backends_.network.backend();
    facts.nics = co_await backends_.network.interfaces();
    co_await network_->describe_management(facts);
    co_return facts;
}

Task<std::vector<SmFacts>> Calls::storage_drivers(StorageDriversArgs) {
    return backends_.storage.storage_drivers();
}

Task<void> Calls::login(LoginArgs args) {
    return backends_.services.login(std::move(args));
}

Task<void> Calls::change_password(ChangePasswordArgs args) {
    return backends_.services.change_password(std::move(args));
}

Task<std::string> Calls::plugin_call(PluginCallArgs args) {
    return backends_.services.plugin_call(std::move(args));
}

Task<HostTime> Calls::host_time(HostTimeArgs) {
    return backends_.services.time();
}

Task<void> Calls::host_power(Operation, HostPowerArgs args) {
    return backends_.services.machine().power(args.act);
}

Task<void> Calls::host_change(Operation, HostChangeArgs args) {
    const std::optional<bool> automatic = args.change.ssh_auto;
    co_await backends_.services.machine().change(std::move(args.change));
    if (automatic) co_await ssh_->set_automatic(*automatic);
}

Task<HostClock> Calls::host_clock(HostClockArgs) {
    return backends_.services.machine().clock();
}

Task<std::vector<UsbFacts>> Calls::usb_devices(UsbDevicesArgs) {
    return backends_.services.machine().usb_devices();
}

Task<std::vector<PciFacts>> Calls::pci_devices(PciDevicesArgs) {
    return backends_.services.machine().pci_devices();
}

Task<PciHiding> Calls::pci_hiding(PciHidingArgs) {
    return backends_.services.machine().pci_hiding();
}

Task<PciHiding> Calls::pci_hide(Operation, PciHideArgs args) {
    return backends_.services.machine().pci_hide(std::move(args.address), args.hidden);
}

Task<std::string> Calls::pci_functions(Operation, PciFunctionsArgs args) {
    return backends_.services.machine().pci_functions(std::move(args.address), args.enabled);
}

Task<void> Calls::host_debug_keys(HostDebugKeysArgs args) {
    return backends_.services.machine().debug_keys(std::move(args.keys));
}

Task<std::vector<std::string>> Calls::host_timezones(HostTimezonesArgs) {
    return backends_.services.machine().timezones();
}

Task<std::string> Calls::host_log(HostLogArgs args) {
    return backends_.services.machine().log(args.log, args.clear);
}

Task<UniqueFd> Calls::host_bundle(HostBundleArgs args) {
    return backends_.services.machine().bundle(std::move(args.entries), std::move(args.format));
}

Task<Account> Calls::account(AccountArgs args) {
    return backends_.services.machine().account(std::move(args.who));
}

Task<bool> Calls::has_extension(HasExtensionArgs args) {
    return backends_.services.has_extension(std::move(args.name));
}

Task<std::string> Calls::extension_call(ExtensionCallArgs args) {
    return backends_.services.extension_call(std::move(args));
}

Task<UniqueFd> Calls::host_console_open(HostConsoleOpenArgs) {
    return backends_.services.open_console();
}

Task<std::vector<DomainInfo>> Calls::domains(DomainsArgs) {
    co_return guests_->domains();
}

Task<UniqueFd> Calls::console_open(ConsoleOpenArgs args) {
    return backends_.hypervisor.open_console(domid_or_throw(args.uuid), args.kind);
}

// -- planned elsewhere ------------------------------------------------------------------------

Task<void> Calls::acknowledge(AcknowledgeArgs) {
    refuse_unplanned("acknowledge");
}

Task<std::vector<OperationEnd>> Calls::resolve(ResolveArgs) {
    refuse_unplanned("resolve");
}

Task<DomainInfo> Calls::vm_start(Operation, VmStartArgs) {
    refuse_unplanned("vm_start");
}

Task<void> Calls::vm_shutdown(Operation, VmShutdownArgs) {
    refuse_unplanned("vm_shutdown");
}

Task<DomainInfo> Calls::vm_reboot(Operation, VmRebootArgs) {
    refuse_unplanned("vm_reboot");
}

Task<void> Calls::vm_pause(Operation, VmPauseArgs) {
    refuse_unplanned("vm_pause");
}

Task<void> Calls::vm_unpause(Operation, VmUnpauseArgs) {
    refuse_unplanned("vm_unpause");
}

Task<void> Calls::vm_suspend(Operation, VmSuspendArgs) {
    refuse_unplanned("vm_suspend");
}

Task<DomainInfo> Calls::vm_resume(Operation, VmResumeArgs) {
    refuse_unplanned("vm_resume");
}

Task<void> Calls::vm_set_memory(Operation, VmSetMemoryArgs) {
    refuse_unplanned("vm_set_memory");
}

Task<void> Calls::vm_set_vcpus(Operation, VmSetVcpusArgs) {
    refuse_unplanned("vm_set_vcpus");
}

Task<void> Calls::vm_set_cpu(Operation, VmSetCpuArgs) {
    refuse_unplanned("vm_set_cpu");
}

Task<void> Calls::vm_signal(Operation, VmSignalArgs) {
    refuse_unplanned("vm_signal");
}

Task<void> Calls::vm_purge(Operation, VmPurgeArgs) {
    refuse_unplanned("vm_purge");
}

Task<void> Calls::disk_plug(Operation, DiskPlugArgs) {
    refuse_unplanned("disk_plug");
}

Task<void> Calls::disk_unplug(Operation, DiskUnplugArgs) {
    refuse_unplanned("disk_unplug");
}

Task<void> Calls::disk_insert(Operation, DiskInsertArgs) {
    refuse_unplanned("disk_insert");
}

Task<void> Calls::disk_eject(Operation, DiskEjectArgs) {
    refuse_unplanned("disk_eject");
}

Task<void> Calls::nic_plug(Operation, NicPlugArgs) {
    refuse_unplanned("nic_plug");
}

Task<void> Calls::nic_change(Operation, NicChangeArgs) {
    refuse_unplanned("nic_change");
}

Task<void> Calls::nic_unplug(Operation, NicUnplugArgs) {
    refuse_unplanned("nic_unplug");
}

Task<void> Calls::usb_plug(Operation, UsbPlugArgs) {
    refuse_unplanned("usb_plug");
}

Task<void> Calls::usb_unplug(Operation, UsbUnplugArgs) {
    refuse_unplanned("usb_unplug");
}

// -- storage ----------------------------------------------------------------------------------

Task<std::string> Calls::sr_probe(SrProbeArgs args) {
    return backends_.storage.sr_probe(std::move(args));
}

Task<void> Calls::sr_create(Operation, SrCreateArgs args) {
    return backends_.storage.sr_create(std::move(args));
}

Task<void> Calls::sr_destroy(Operation, SrDestroyArgs args) {
    const std::string uuid = args.uuid;
    co_await backends_.storage.sr_destroy(std::move(args));
    metering_->forget_sr(uuid);
    co_await metering_->drop({MetricsOwner::sr, uuid});
}

Task<SrInfo> Calls::sr_attach(Operation, SrAttachArgs args) {
    SrInfo info = co_await backends_.storage.sr_attach(std::move(args));
    metering_->note_sr(info);
    co_return info;
}

Task<void> Calls::sr_detach(Operation, SrDetachArgs args) {
    const std::string uuid = args.uuid;
    co_await backends_.storage.sr_detach(std::move(args));
    metering_->forget_sr(uuid);
}

Task<SrInfo> Calls::sr_stat(SrStatArgs args) {
    SrInfo info = co_await backends_.storage.sr_stat(std::move(args));
    metering_->note_sr(info);
    co_return info;
}

Task<SrContents> Calls::sr_scan(SrScanArgs args) {
    SrContents contents = co_await backends_.storage.sr_scan(std::move(args));
    metering_->note_sr(contents.sr);
    co_return contents;
}

Task<VdiInfo> Calls::vdi_create(Operation, VdiCreateArgs args) {
    return backends_.storage.vdi_create(std::move(args));
}

Task<void> Calls::vdi_destroy(Operation, VdiDestroyArgs args) {
    return backends_.storage.vdi_destroy(std::move(args));
}

Task<VdiInfo> Calls::vdi_snapshot(Operation, VdiSnapshotArgs args) {
    return backends_.storage.vdi_snapshot(std::move(args));
}

Task<VdiInfo> Calls::vdi_clone(Operation, VdiCloneArgs args) {
    return backends_.storage.vdi_clone(std::move(args));
}

Task<VdiInfo> Calls::vdi_revert(Operation, VdiRevertArgs args) {
    return backends_.storage.vdi_revert(std::move(args));
}

Task<VdiInfo> Calls::vdi_copy(Operation operation, VdiCopyArgs args) {
    return backends_.storage.vdi_copy(std::move(args), std::move(operation.progress));
}

Task<VdiInfo> Calls::vdi_resize(Operation, VdiResizeArgs args) {
    const std::string vm = args.live_in;
    const std::string vdi = args.disk.vdi;
    VdiInfo info = co_await backends_.storage.vdi_resize(std::move(args));
    if (vm.empty()) co_return info;
    const plan::Have have = guests_->have(vm);
    if (!have.spec) co_return info;
    for (const DiskSpec& disk : have.spec->disks)
        if (disk.disk && disk.disk->vdi == vdi)
            co_await backends_.hypervisor.disk_resized(domid_or_throw(vm), disk.device,
                                                       info.size_bytes);
    co_return info;
}

Task<UniqueFd> Calls::vdi_open(VdiOpenArgs args) {
    return backends_.storage.vdi_open(std::move(args));
}

Task<UniqueFd> Calls::vdi_export(VdiExportArgs args) {
    return backends_.storage.vdi_export(std::move(args));
}

Task<std::string> Calls::vdi_changes(VdiChangesArgs args) {
    return backends_.storage.vdi_changes(std::move(args));
}

Task<UniqueFd> Calls::vdi_import(Operation, VdiImportArgs args) {
    return backends_.storage.vdi_import(std::move(args));
}

// -- network ----------------------------------------------------------------------------------

Task<NetworkHave> Calls::network_apply(Operation, NetworkApplyArgs args) {
    return network_->apply(std::move(args));
}

Task<NetworkHave> Calls::network_state(NetworkStateArgs) {
    return backends_.network.have();
}

Task<bool> Calls::network_keep(NetworkKeepArgs args) {
    return network_->keep(std::move(args.confirm));
}

}  // namespace basalt::agent
