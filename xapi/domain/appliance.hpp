#pragma once
#include <functional>

#include "idl/api/vm_appliance_api.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/rules/appliance_ops.hpp"

namespace basalt::domain {

/// Class VM_appliance: VMs that start and stop together, in the order of their `order`, with their
/// delays between. Also what starts VMs of itself when their host has booted.
class ApplianceDomain final : public xenapi::VmApplianceApi {
  public:
    ApplianceDomain(core::Core& core, VmDomain& vms) : core_(core), vms_(vms) {}

    Task<void> start(Call& call, xenapi::VmApplianceStart params) override;
    Task<void> clean_shutdown(Call& call, xenapi::VmApplianceCleanShutdown params) override;
    Task<void> hard_shutdown(Call& call, xenapi::VmApplianceHardShutdown params) override;
    Task<void> shutdown(Call& call, xenapi::VmApplianceShutdown params) override;

    // vm_recovery.cpp
    void recover_by(Recovery& recovery) { recovery_ = &recovery; }

    Task<void> assert_can_be_recovered(Call& call,
                                       xenapi::VmApplianceAssertCanBeRecovered params) override;
    Task<std::vector<xenapi::Ref<xenapi::Sr>>> get_SRs_required_for_recovery(
        Call& call, xenapi::VmApplianceGetSRsRequiredForRecovery params) override;
    Task<void> recover(Call& call, xenapi::VmApplianceRecover params) override;

    /// Starts the halted VMs whose other_config, like the pool's, says auto_poweron. What does not
    /// start is logged.
    Task<void> power_on();

  private:
    /// What is done with one VM; the call is its own.
    using Act = std::function<Task<void>(Call&, xenapi::Ref<xenapi::Vm>)>;

    struct Work {
        const char* message;  // of which each act is a call
        Act act;
    };

    Task<void> run(Call& call, xenapi::Ref<xenapi::VmAppliance> self,
                   xenapi::VmApplianceOperation operation, Work work);
    /// Answers the VMs with which it failed.
    Task<std::vector<std::string>> run_waves(Caller caller, std::vector<rules::Wave> waves,
                                             Work work);
    Task<void> run_one(Caller caller, std::string vm, Work work,
                       std::shared_ptr<std::vector<std::string>> failed);

    core::Core& core_;
    VmDomain& vms_;
    Recovery* recovery_ = nullptr;
};

/// allowed_operations of an appliance.
void derive_appliance(db::Txn& txn, xenapi::Ref<xenapi::VmAppliance> ref);

}  // namespace basalt::domain
