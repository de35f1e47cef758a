// Classes VM and VM_appliance: coming back from another database, or from an archive elsewhere.
#include <algorithm>

#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_appliance.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/appliance.hpp"
#include "xapi/domain/recovery.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<void> VmDomain::assert_can_be_recovered(Call& call, VmAssertCanBeRecovered params) {
    const Ref<VmAppliance> appliance = recovery_->source(call).get(params.self).appliance;
    if (appliance) throw err::vm_is_part_of_an_appliance(params.self, appliance);
    recovery_->require_reached(call, params.self, params.session_to);
    co_return;
}

Task<std::vector<Ref<Sr>>> VmDomain::get_SRs_required_for_recovery(
    Call& call, VmGetSRsRequiredForRecovery params) {
    co_return recovery_->missing(call, params.self, params.session_to);
}

Task<void> VmDomain::recover(Call& call, VmRecover params) {
    co_await recovery_->recover(call, {params.self}, params.session_to, params.force);
}

Task<std::vector<Ref<Vm>>> VmDomain::import(Call& call, xenapi::VmImport params) {
    if (!importer_) throw err::internal_error("this process opens no connections");
    return importer_(call, std::move(params));
}

// What the appliance is asked is between it and its makers' server: nobody else speaks it. A host
// without the appliance lacks the plug-in, too, and says so as other servers do.
Task<void> VmDomain::import_convert(Call& call, VmImportConvert params) {
    (void)call.db().get(params.sr);
    agent::PluginCallArgs args;
    args.plugin = "conversion";
    args.function = "main";
    args.session = call.caller().session.text();
    const std::string address = co_await core_.hosts->local().plugin_call(std::move(args));
    throw err::not_implemented(std::string(call.message().wire_name) + " by the appliance at " +
                               address.substr(0, 256));
}

Task<void> ApplianceDomain::assert_can_be_recovered(Call& call,
                                                    VmApplianceAssertCanBeRecovered params) {
    const std::vector<Ref<Vm>> vms = recovery_->source(call).get(params.self).VMs;
    for (const Ref<Vm> vm : vms)
        recovery_->require_reached(call, vm, params.session_to);
    co_return;
}

Task<std::vector<Ref<Sr>>> ApplianceDomain::get_SRs_required_for_recovery(
    Call& call, VmApplianceGetSRsRequiredForRecovery params) {
    std::vector<Ref<Sr>> out;
    for (const Ref<Vm> vm : std::vector(recovery_->source(call).get(params.self).VMs))
        for (const Ref<Sr> sr : recovery_->missing(call, vm, params.session_to))
            if (!std::ranges::contains(out, sr)) out.push_back(sr);
    co_return out;
}

// The appliance comes back with its VMs, unless it is there.
Task<void> ApplianceDomain::recover(Call& call, VmApplianceRecover params) {
    const VmAppliance lost = recovery_->source(call).get(params.self);
    for (const Ref<Vm> vm : lost.VMs)
        recovery_->require_reached(call, vm, params.session_to);
    const Recovery::Vms vms =
        co_await recovery_->recover(call, lost.VMs, params.session_to, params.force);
    call.db().transact([&](db::Txn& txn) {
        const auto known = call.db().by_uuid<VmAppliance>(lost.uuid);
        VmAppliance row;
        row.uuid = lost.uuid;
        row.name_label = lost.name_label;
        row.name_description = lost.name_description;
        const Ref<VmAppliance> appliance = known ? *known : txn.insert(std::move(row));
        for (const Ref<Vm> vm : vms)
            txn.edit(vm).appliance = appliance;
    });
}

}  // namespace basalt::domain
