#pragma once
#include <map>

#include "idl/api/vmss_api.hpp"
#include "idl/records/vmss.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vm.hpp"

namespace basalt::domain {

/// Class VMSS: schedules that take snapshots of VMs and keep so many of them.
class VmssDomain final : public xenapi::VmssApi {
  public:
    VmssDomain(core::Core& core, VmDomain& vms, Storage& storage)
        : core_(core), vms_(vms), storage_(storage) {}

    Task<xenapi::Ref<xenapi::Vmss>> create(Call& call, xenapi::VmssCreate params) override;
    Task<void> destroy(Call& call, xenapi::VmssDestroy params) override;
    Task<void> set_schedule(Call& call, xenapi::VmssSetSchedule params) override;
    Task<void> add_to_schedule(Call& call, xenapi::VmssAddToSchedule params) override;
    Task<void> remove_from_schedule(Call& call, xenapi::VmssRemoveFromSchedule params) override;
    Task<void> set_frequency(Call& call, xenapi::VmssSetFrequency params) override;
    Task<void> set_type(Call& call, xenapi::VmssSetType params) override;
    Task<void> set_retained_snapshots(Call& call, xenapi::VmssSetRetainedSnapshots params) override;
    Task<void> set_last_run_time(Call& call, xenapi::VmssSetLastRunTime params) override;
    Task<std::string> snapshot_now(Call& call, xenapi::VmssSnapshotNow params) override;

    /// Runs what is due, by the local clock of the coordinator's host; until cancelled.
    Task<void> run_forever();

  private:
    struct Outcome {
        std::vector<std::string> snapshots;  // uuids
        std::vector<std::string> failures;
    };

    Task<void> run_due();
    Task<Outcome> run(Caller caller, xenapi::Ref<xenapi::Vmss> vmss);
    Task<std::string> snapshot(Caller caller, xenapi::Ref<xenapi::Vmss> vmss,
                               xenapi::Ref<xenapi::Vm> vm);
    Task<void> thin_out(Caller caller, xenapi::Ref<xenapi::Vmss> vmss, xenapi::Ref<xenapi::Vm> vm);
    Task<void> destroy_snapshot(Caller caller, xenapi::Ref<xenapi::Vm> snapshot);

    core::Core& core_;
    VmDomain& vms_;
    Storage& storage_;
    /// When this process first looked at a schedule, by the local clock: what was due before then
    /// is over.
    std::map<xenapi::Ref<xenapi::Vmss>, std::int64_t> seen_;
};

}  // namespace basalt::domain
