#pragma once
#include "host-agent/core/guests.hpp"
#include "host-agent/core/network_keeper.hpp"
#include "host-agent/core/ssh_keeper.hpp"
#include "host-agent/metrics/metering.hpp"

namespace basalt::agent {

/// The verbs that are one act of one backend, done at once: no journal, no line. The verbs that
/// need a plan are refused here; `Agent` makes their plans.
class Calls final : public Host {
  public:
    explicit Calls(Backends backends) : backends_(backends) {}

    /// Set before the first call; it refers to this object itself.
    void set_guests(const Guests& guests) { guests_ = &guests; }

    /// The same.
    void set_metering(Metering& metering) { metering_ = &metering; }

    /// The same.
    void set_network(NetworkKeeper& network) { network_ = &network; }

    /// The same.
    void set_ssh(SshKeeper& ssh) { ssh_ = &ssh; }

    Task<HostFacts> hello(HelloArgs args) override;
    Task<HostFacts> host_facts(HostFactsArgs args) override;
    Task<std::vector<SmFacts>> storage_drivers(StorageDriversArgs args) override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;
    Task<HostTime> host_time(HostTimeArgs args) override;
    Task<void> host_power(Operation operation, HostPowerArgs args) override;
    Task<void> host_change(Operation operation, HostChangeArgs args) override;
    Task<HostClock> host_clock(HostClockArgs args) override;
    Task<std::vector<UsbFacts>> usb_devices(UsbDevicesArgs args) override;
    Task<std::vector<PciFacts>> pci_devices(PciDevicesArgs args) override;
    Task<PciHiding> pci_hiding(PciHidingArgs args) override;
    Task<PciHiding> pci_hide(Operation operation, PciHideArgs args) override;
    Task<std::string> pci_functions(Operation operation, PciFunctionsArgs args) override;
    Task<void> host_debug_keys(HostDebugKeysArgs args) override;
    Task<std::vector<std::string>> host_timezones(HostTimezonesArgs args) override;
    Task<std::string> host_log(HostLogArgs args) override;
    Task<UniqueFd> host_bundle(HostBundleArgs args) override;
    Task<Account> account(AccountArgs args) override;
    Task<bool> has_extension(HasExtensionArgs args) override;
    Task<std::string> extension_call(ExtensionCallArgs args) override;
    Task<UniqueFd> host_console_open(HostConsoleOpenArgs args) override;
    Task<std::vector<DomainInfo>> domains(DomainsArgs args) override;
    Task<void> acknowledge(AcknowledgeArgs args) override;
    Task<std::vector<OperationEnd>> resolve(ResolveArgs args) override;
    Task<DomainInfo> vm_start(Operation operation, VmStartArgs args) override;
    Task<void> vm_shutdown(Operation operation, VmShutdownArgs args) override;
    Task<DomainInfo> vm_reboot(Operation operation, VmRebootArgs args) override;
    Task<void> vm_pause(Operation operation, VmPauseArgs args) override;
    Task<void> vm_unpause(Operation operation, VmUnpauseArgs args) override;
    Task<void> vm_suspend(Operation operation, VmSuspendArgs args) override;
    Task<DomainInfo> vm_resume(Operation operation, VmResumeArgs args) override;
    Task<void> vm_set_memory(Operation operation, VmSetMemoryArgs args) override;
    Task<void> vm_set_vcpus(Operation operation, VmSetVcpusArgs args) override;
    Task<void> vm_set_cpu(Operation operation, VmSetCpuArgs args) override;
    Task<void> vm_signal(Operation operation, VmSignalArgs args) override;
    Task<void> vm_purge(Operation operation, VmPurgeArgs args) override;
    // calls_states.cpp
    Task<KeptState> state_get(StateGetArgs args) override;
    Task<void> state_put(StatePutArgs args) override;
    Task<void> state_told(StateToldArgs args) override;
    Task<std::vector<StateRef>> states_changed(StatesChangedArgs args) override;
    Task<void> disk_plug(Operation operation, DiskPlugArgs args) override;
    Task<void> disk_unplug(Operation operation, DiskUnplugArgs args) override;
    Task<void> disk_insert(Operation operation, DiskInsertArgs args) override;
    Task<void> disk_eject(Operation operation, DiskEjectArgs args) override;
    Task<void> nic_plug(Operation operation, NicPlugArgs args) override;
    Task<void> nic_change(Operation operation, NicChangeArgs args) override;
    Task<void> nic_unplug(Operation operation, NicUnplugArgs args) override;
    Task<void> usb_plug(Operation operation, UsbPlugArgs args) override;
    Task<void> usb_unplug(Operation operation, UsbUnplugArgs args) override;
    Task<UniqueFd> console_open(ConsoleOpenArgs args) override;
    Task<std::string> sr_probe(SrProbeArgs args) override;
    Task<void> sr_create(Operation operation, SrCreateArgs args) override;
    Task<void> sr_destroy(Operation operation, SrDestroyArgs args) override;
    Task<SrInfo> sr_attach(Operation operation, SrAttachArgs args) override;
    Task<void> sr_detach(Operation operation, SrDetachArgs args) override;
    Task<SrInfo> sr_stat(SrStatArgs args) override;
    Task<SrContents> sr_scan(SrScanArgs args) override;
    Task<VdiInfo> vdi_create(Operation operation, VdiCreateArgs args) override;
    Task<void> vdi_destroy(Operation operation, VdiDestroyArgs args) override;
    Task<VdiInfo> vdi_snapshot(Operation operation, VdiSnapshotArgs args) override;
    Task<VdiInfo> vdi_clone(Operation operation, VdiCloneArgs args) override;
    Task<VdiInfo> vdi_revert(Operation operation, VdiRevertArgs args) override;
    Task<VdiInfo> vdi_copy(Operation operation, VdiCopyArgs args) override;
    Task<VdiInfo> vdi_resize(Operation operation, VdiResizeArgs args) override;
    Task<UniqueFd> vdi_open(VdiOpenArgs args) override;
    Task<UniqueFd> vdi_export(VdiExportArgs args) override;
    Task<std::string> vdi_changes(VdiChangesArgs args) override;
    Task<UniqueFd> vdi_import(Operation operation, VdiImportArgs args) override;
    Task<NetworkHave> network_apply(Operation operation, NetworkApplyArgs args) override;
    Task<NetworkHave> network_state(NetworkStateArgs args) override;
    Task<bool> network_keep(NetworkKeepArgs args) override;
    Task<UniqueFd> metrics_updates(MetricsUpdatesArgs args) override;
    Task<UniqueFd> metrics_whole(MetricsWholeArgs args) override;
    Task<std::vector<MetricsSource>> metrics_sources(MetricsSourcesArgs args) override;
    Task<std::map<std::string, double>> metrics_means(MetricsMeansArgs args) override;
    Task<void> metrics_tell(MetricsTellArgs args) override;
    Task<void> metrics_record(MetricsRecordArgs args) override;
    Task<MetricsPiece> metrics_take(MetricsTakeArgs args) override;
    Task<void> metrics_give(MetricsGiveArgs args) override;
    Task<void> metrics_drop(MetricsDropArgs args) override;
    Task<void> metrics_save(MetricsSaveArgs args) override;
    Task<void> metrics_settings(MetricsSettingsArgs args) override;

  private:
    [[nodiscard]] hv::DomId domid_or_throw(const std::string& vm) const;

    Backends backends_;
    const Guests* guests_ = nullptr;
    Metering* metering_ = nullptr;
    NetworkKeeper* network_ = nullptr;
    SshKeeper* ssh_ = nullptr;
};

}  // namespace basalt::agent
