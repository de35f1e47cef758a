#pragma once
#include <functional>
#include <optional>

#include "base/undo.hpp"
#include "idl/api/vm_api.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/kept_states.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vm_parts.hpp"

namespace basalt::domain {

class Recovery;

/// Class VM. Records and settings are in vm.cpp, power in vm_power.cpp, copies in vm_copy.cpp, the
/// way back to a snapshot in vm_revert.cpp, memory and vCPUs in vm_size.cpp, what changes a running
/// guest in vm_live.cpp, settings that few use in vm_settings.cpp.
class VmDomain final : public xenapi::VmApi {
  public:
    VmDomain(core::Core& core, Storage& storage, MemoryLedger& memory, Balloons& balloons,
             KeptStates& states)
        : core_(core), storage_(storage), memory_(memory), balloons_(balloons), states_(states) {}

    /// Before anything is served; it outlives this.
    void recover_by(Recovery& recovery) { recovery_ = &recovery; }

    // vm.cpp
    Task<xenapi::Ref<xenapi::Vm>> create(Call& call, xenapi::VmCreate params) override;
    Task<void> destroy(Call& call, xenapi::VmDestroy params) override;
    Task<std::vector<std::string>> get_allowed_VBD_devices(
        Call& call, xenapi::VmGetAllowedVbdDevices params) override;
    Task<std::vector<std::string>> get_allowed_VIF_devices(
        Call& call, xenapi::VmGetAllowedVifDevices params) override;
    Task<void> assert_operation_valid(Call& call, xenapi::VmAssertOperationValid params) override;
    Task<void> update_allowed_operations(Call& call,
                                         xenapi::VmUpdateAllowedOperations params) override;
    Task<void> set_is_a_template(Call& call, xenapi::VmSetIsATemplate params) override;
    Task<void> set_is_default_template(Call& call, xenapi::VmSetIsDefaultTemplate params) override;
    Task<void> set_HVM_boot_policy(Call& call, xenapi::VmSetHvmBootPolicy params) override;
    Task<void> set_domain_type(Call& call, xenapi::VmSetDomainType params) override;
    Task<void> set_actions_after_crash(Call& call, xenapi::VmSetActionsAfterCrash params) override;
    Task<void> set_other_config(Call& call, xenapi::VmSetOtherConfig params) override;
    Task<void> add_to_other_config(Call& call, xenapi::VmAddToOtherConfig params) override;
    Task<void> remove_from_other_config(Call& call,
                                        xenapi::VmRemoveFromOtherConfig params) override;
    Task<void> set_platform(Call& call, xenapi::VmSetPlatform params) override;
    Task<void> add_to_platform(Call& call, xenapi::VmAddToPlatform params) override;
    Task<void> remove_from_platform(Call& call, xenapi::VmRemoveFromPlatform params) override;
    Task<void> set_blocked_operations(Call& call, xenapi::VmSetBlockedOperations params) override;
    Task<void> add_to_blocked_operations(Call& call,
                                         xenapi::VmAddToBlockedOperations params) override;
    Task<void> remove_from_blocked_operations(
        Call& call, xenapi::VmRemoveFromBlockedOperations params) override;
    Task<void> set_xenstore_data(Call& call, xenapi::VmSetXenstoreData params) override;
    Task<void> add_to_xenstore_data(Call& call, xenapi::VmAddToXenstoreData params) override;
    Task<void> remove_from_xenstore_data(Call& call,
                                         xenapi::VmRemoveFromXenstoreData params) override;
    Task<void> set_NVRAM(Call& call, xenapi::VmSetNvram params) override;
    Task<void> add_to_NVRAM(Call& call, xenapi::VmAddToNvram params) override;
    Task<void> remove_from_NVRAM(Call& call, xenapi::VmRemoveFromNvram params) override;
    Task<void> set_start_delay(Call& call, xenapi::VmSetStartDelay params) override;
    Task<void> set_shutdown_delay(Call& call, xenapi::VmSetShutdownDelay params) override;
    Task<void> set_order(Call& call, xenapi::VmSetOrder params) override;
    Task<void> set_has_vendor_device(Call& call, xenapi::VmSetHasVendorDevice params) override;
    Task<void> set_ha_restart_priority(Call& call, xenapi::VmSetHaRestartPriority params) override;

    // vm_size.cpp
    Task<void> set_memory(Call& call, xenapi::VmSetMemory params) override;
    Task<void> set_memory_limits(Call& call, xenapi::VmSetMemoryLimits params) override;
    Task<void> set_memory_static_range(Call& call, xenapi::VmSetMemoryStaticRange params) override;
    Task<void> set_memory_dynamic_range(Call& call,
                                        xenapi::VmSetMemoryDynamicRange params) override;
    Task<void> set_memory_static_max(Call& call, xenapi::VmSetMemoryStaticMax params) override;
    Task<void> set_memory_static_min(Call& call, xenapi::VmSetMemoryStaticMin params) override;
    Task<void> set_memory_dynamic_max(Call& call, xenapi::VmSetMemoryDynamicMax params) override;
    Task<void> set_memory_dynamic_min(Call& call, xenapi::VmSetMemoryDynamicMin params) override;
    Task<void> set_HVM_shadow_multiplier(Call& call,
                                         xenapi::VmSetHvmShadowMultiplier params) override;
    Task<std::int64_t> compute_memory_overhead(Call& call,
                                               xenapi::VmComputeMemoryOverhead params) override;
    Task<std::int64_t> maximise_memory(Call& call, xenapi::VmMaximiseMemory params) override;
    Task<void> set_VCPUs_max(Call& call, xenapi::VmSetVCPUsMax params) override;
    Task<void> set_VCPUs_at_startup(Call& call, xenapi::VmSetVCPUsAtStartup params) override;

    // vm_live.cpp
    Task<void> set_memory_target_live(Call& call, xenapi::VmSetMemoryTargetLive params) override;
    Task<void> wait_memory_target_live(Call& call, xenapi::VmWaitMemoryTargetLive params) override;
    Task<bool> get_cooperative(Call& call, xenapi::VmGetCooperative params) override;
    Task<void> set_shadow_multiplier_live(Call& call,
                                          xenapi::VmSetShadowMultiplierLive params) override;
    Task<void> set_VCPUs_number_live(Call& call, xenapi::VmSetVCPUsNumberLive params) override;
    Task<void> add_to_VCPUs_params_live(Call& call, xenapi::VmAddToVCPUsParamsLive params) override;
    Task<void> send_sysrq(Call& call, xenapi::VmSendSysrq params) override;
    Task<void> send_trigger(Call& call, xenapi::VmSendTrigger params) override;
    Task<void> s3_suspend(Call& call, xenapi::VmS3Suspend params) override;
    Task<void> s3_resume(Call& call, xenapi::VmS3Resume params) override;
    Task<std::string> call_plugin(Call& call, xenapi::VmCallPlugin params) override;
    Task<std::string> call_host_plugin(Call& call, xenapi::VmCallHostPlugin params) override;
    Task<void> restart_device_models(Call& call, xenapi::VmRestartDeviceModels params) override;

    // secure_boot.cpp
    Task<std::string> set_uefi_mode(Call& call, xenapi::VmSetUefiMode params) override;
    Task<void> update_secureboot_certificates_on_boot(
        Call& call, xenapi::VmUpdateSecurebootCertificatesOnBoot params) override;
    Task<xenapi::VmSecurebootReadiness> get_secureboot_readiness(
        Call& call, xenapi::VmGetSecurebootReadiness params) override;

    // vm_settings.cpp
    Task<void> set_appliance(Call& call, xenapi::VmSetAppliance params) override;
    Task<void> set_snapshot_schedule(Call& call, xenapi::VmSetSnapshotSchedule params) override;
    Task<void> set_groups(Call& call, xenapi::VmSetGroups params) override;
    Task<void> set_bios_strings(Call& call, xenapi::VmSetBiosStrings params) override;
    Task<void> copy_bios_strings(Call& call, xenapi::VmCopyBiosStrings params) override;
    Task<void> set_NVRAM_EFI_variables(Call& call, xenapi::VmSetNvramEfiVariables params) override;
    Task<xenapi::Vm> get_boot_record(Call& call, xenapi::VmGetBootRecord params) override;
    Task<xenapi::Map<std::string, std::string>> query_services(
        Call& call, xenapi::VmQueryServices params) override;
    Task<void> update_snapshot_metadata(Call& call,
                                        xenapi::VmUpdateSnapshotMetadata params) override;
    Task<void> assert_agile(Call& call, xenapi::VmAssertAgile params) override;

    Task<xenapi::Ref<xenapi::Blob>> create_new_blob(Call& call,
                                                    xenapi::VmCreateNewBlob params) override;
    Task<void> atomic_set_resident_on(Call& call, xenapi::VmAtomicSetResidentOn params) override;
    Task<void> set_suspend_VDI(Call& call, xenapi::VmSetSuspendVdi params) override;
    Task<void> sysprep(Call& call, xenapi::VmSysprep params) override;

    // vm_recovery.cpp
    Task<void> assert_can_be_recovered(Call& call, xenapi::VmAssertCanBeRecovered params) override;
    Task<std::vector<xenapi::Ref<xenapi::Sr>>> get_SRs_required_for_recovery(
        Call& call, xenapi::VmGetSRsRequiredForRecovery params) override;
    Task<void> recover(Call& call, xenapi::VmRecover params) override;
    /// Takes VMs in by an archive; set by whoever can open connections.
    using Importer = std::function<Task<std::vector<xenapi::Ref<xenapi::Vm>>>(
        Call& call, xenapi::VmImport params)>;

    void import_by(Importer importer) { importer_ = std::move(importer); }

    Task<std::vector<xenapi::Ref<xenapi::Vm>>> import(Call& call, xenapi::VmImport params) override;
    /// By an appliance that converts VMs of other makes, where the host has its plug-in.
    Task<void> import_convert(Call& call, xenapi::VmImportConvert params) override;

    // figures.cpp
    Task<std::vector<xenapi::DataSource>> get_data_sources(
        Call& call, xenapi::VmGetDataSources params) override;
    Task<double> query_data_source(Call& call, xenapi::VmQueryDataSource params) override;
    Task<void> record_data_source(Call& call, xenapi::VmRecordDataSource params) override;
    Task<void> forget_data_source_archives(Call& call,
                                           xenapi::VmForgetDataSourceArchives params) override;

    // vm_power.cpp
    Task<void> start(Call& call, xenapi::VmStart params) override;
    Task<void> start_on(Call& call, xenapi::VmStartOn params) override;
    Task<void> clean_shutdown(Call& call, xenapi::VmCleanShutdown params) override;
    Task<void> hard_shutdown(Call& call, xenapi::VmHardShutdown params) override;
    Task<void> shutdown(Call& call, xenapi::VmShutdown params) override;
    Task<void> clean_reboot(Call& call, xenapi::VmCleanReboot params) override;
    Task<void> hard_reboot(Call& call, xenapi::VmHardReboot params) override;
    Task<void> hard_reboot_internal(Call& call, xenapi::VmHardRebootInternal params) override;
    Task<void> pause(Call& call, xenapi::VmPause params) override;
    Task<void> unpause(Call& call, xenapi::VmUnpause params) override;
    Task<void> suspend(Call& call, xenapi::VmSuspend params) override;
    Task<void> resume(Call& call, xenapi::VmResume params) override;
    Task<void> resume_on(Call& call, xenapi::VmResumeOn params) override;
    Task<void> power_state_reset(Call& call, xenapi::VmPowerStateReset params) override;
    Task<std::vector<xenapi::Ref<xenapi::Host>>> get_possible_hosts(
        Call& call, xenapi::VmGetPossibleHosts params) override;
    Task<void> assert_can_boot_here(Call& call, xenapi::VmAssertCanBootHere params) override;

    // vm_copy.cpp
    Task<xenapi::Ref<xenapi::Vm>> clone(Call& call, xenapi::VmClone params) override;
    Task<xenapi::Ref<xenapi::Vm>> copy(Call& call, xenapi::VmCopy params) override;
    Task<xenapi::Ref<xenapi::Vm>> snapshot(Call& call, xenapi::VmSnapshot params) override;
    Task<void> provision(Call& call, xenapi::VmProvision params) override;

    // vm_revert.cpp
    Task<void> revert(Call& call, xenapi::VmRevert params) override;
    Task<xenapi::Ref<xenapi::Vm>> checkpoint(Call& call, xenapi::VmCheckpoint params) override;
    Task<xenapi::Ref<xenapi::Vm>> csvm(Call& call, xenapi::VmCsvm params) override;

  private:
    using Landing = std::function<void(db::Txn&)>;

    struct Shutdown {
        xenapi::Ref<xenapi::Vm> vm;
        xenapi::VmOperations operation;
        agent::Method method;
    };

    Task<void> start_somewhere(Call& call, xenapi::Ref<xenapi::Vm> vm,
                               xenapi::VmOperations operation,
                               std::optional<xenapi::Ref<xenapi::Host>> host, bool paused);
    Task<void> resume_somewhere(Call& call, xenapi::Ref<xenapi::Vm> vm,
                                xenapi::VmOperations operation,
                                std::optional<xenapi::Ref<xenapi::Host>> host, bool paused);
    Task<void> shut_down(Call& call, Shutdown what);
    Task<void> reboot(Call& call, xenapi::Ref<xenapi::Vm> vm, xenapi::VmOperations operation,
                      agent::Method method);
    Task<void> set_running(Call& call, xenapi::Ref<xenapi::Vm> vm, bool running);
    /// Ends a suspended VM: its memory image goes.
    Task<void> discard_suspended(Call& call, Shutdown what);

    /// Suspends, lands `also` with it. Like `wake`, ends no task by itself.
    Task<void> put_to_sleep(Call& call, xenapi::Ref<xenapi::Vm> vm, Landing also);

    struct Waking {
        xenapi::Ref<xenapi::Vm> vm;
        std::optional<xenapi::Ref<xenapi::Host>> host;
        bool paused = false;
        bool goes_on = false;  // it was only put to sleep for a moment: not for want of disk space
    };

    Task<void> wake(Call& call, Waking what, Landing also);
    Task<void> sleep_for_checkpoint(Call& call, xenapi::Ref<xenapi::Vm> vm);
    Task<void> wake_again(Call& call, xenapi::Ref<xenapi::Vm> vm, xenapi::Vm before);
    Task<void> wake_where_it_was(Call& call, xenapi::Ref<xenapi::Vm> vm, xenapi::Vm before);

    /// Copies of what a sleeping VM has.
    struct Sleeper {
        std::vector<DriveCopy> drives;
        xenapi::Ref<xenapi::Vdi> image;
    };

    Task<Sleeper> copy_asleep(Call& call, CopySpec spec, std::vector<DriveCopy> drives,
                              Storage::Drafts& drafts, Undo& undo);
    /// What `undo` then destroys: a copy of each disk; other drives as they are.
    Task<std::vector<DriveCopy>> copy_drives(Call& call, CopySpec spec,
                                             std::vector<DriveCopy> drives, Storage::Drafts& drafts,
                                             Undo& undo);
    xenapi::Ref<xenapi::Vm> land_copy(db::Txn& txn, const CopySpec& spec,
                                      const std::vector<DriveCopy>& copies);
    Task<xenapi::Ref<xenapi::Vm>> make_copy(Call& call, CopySpec spec);
    Task<xenapi::Ref<xenapi::Vdi>> copy_disk(Call& call, CopySpec spec,
                                             xenapi::Ref<xenapi::Vdi> disk,
                                             Storage::Drafts& drafts);

    Task<void> purge(Call& call, xenapi::Vm gone);
    /// Both ends of the dynamic range, of a guest that may be running: its balloon follows.
    Task<void> set_dynamic(Call& call, xenapi::Ref<xenapi::Vm> self, xenapi::VmOperations operation,
                           std::int64_t least, std::int64_t most);
    Task<void> signal(Call& call, xenapi::Ref<xenapi::Vm> vm, xenapi::VmOperations operation,
                      agent::GuestSignal signal, std::string key);

    core::Core& core_;
    Storage& storage_;
    MemoryLedger& memory_;
    Balloons& balloons_;
    KeptStates& states_;
    Recovery* recovery_ = nullptr;
    Importer importer_;
};

}  // namespace basalt::domain
