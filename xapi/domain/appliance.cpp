#include "xapi/domain/appliance.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_appliance.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using Op = VmApplianceOperation;

bool sleeps(const Vm& vm) {
    return vm.power_state == VmPowerState::suspended;
}

rules::ApplianceView view(const db::Txn& txn, Ref<VmAppliance> ref) {
    rules::ApplianceView out{.ref = ref.text()};
    const VmAppliance& row = txn.get(ref);
    for (const auto vm : row.VMs) {
        const Vm* member = txn.find(vm);
        if (member == nullptr) continue;
        out.some_halted |= member->power_state == VmPowerState::halted;
        out.some_live |= has_domain(*member);
        out.some_sleep |= sleeps(*member);
    }
    out.current = {row.current_operations.begin(), row.current_operations.end()};
    return out;
}

// Whether there is anything to do with the VM.
bool concerns(Op operation, const Vm& vm) {
    switch (operation) {
        case Op::start:
            return vm.power_state == VmPowerState::halted;
        case Op::clean_shutdown:
            return has_domain(vm);
        default:
            return has_domain(vm) || sleeps(vm);
    }
}

rules::Member member_of(Ref<Vm> ref, const Vm& vm) {
    return {.vm = ref.text(),
            .order = vm.order,
            .start_delay_seconds = vm.start_delay,
            .shutdown_delay_seconds = vm.shutdown_delay};
}

}  // namespace

void derive_appliance(db::Txn& txn, Ref<VmAppliance> ref) {
    if (txn.find(ref) == nullptr) return;
    auto allowed = rules::allowed_operations(view(txn, ref));
    if (allowed != txn.get(ref).allowed_operations)
        txn.edit(ref).allowed_operations = std::move(allowed);
}

Task<void> ApplianceDomain::start(Call& call, VmApplianceStart params) {
    Act act = [this, paused = params.paused](Call& own, Ref<Vm> vm) {
        return vms_.start(own, {.vm = vm, .start_paused = paused, .force = false});
    };
    return run(call, params.self, Op::start, {"VM.start", std::move(act)});
}

Task<void> ApplianceDomain::clean_shutdown(Call& call, VmApplianceCleanShutdown params) {
    Act act = [this](Call& own, Ref<Vm> vm) { return vms_.clean_shutdown(own, {vm}); };
    return run(call, params.self, Op::clean_shutdown, {"VM.clean_shutdown", std::move(act)});
}

Task<void> ApplianceDomain::hard_shutdown(Call& call, VmApplianceHardShutdown params) {
    Act act = [this](Call& own, Ref<Vm> vm) { return vms_.hard_shutdown(own, {vm}); };
    return run(call, params.self, Op::hard_shutdown, {"VM.hard_shutdown", std::move(act)});
}

Task<void> ApplianceDomain::shutdown(Call& call, VmApplianceShutdown params) {
    Act act = [this](Call& own, Ref<Vm> vm) { return vms_.shutdown(own, {vm}); };
    return run(call, params.self, Op::shutdown, {"VM.shutdown", std::move(act)});
}

Task<void> ApplianceDomain::run(Call& call, Ref<VmAppliance> self, Op operation, Work work) {
    core::Operation marks(call);
    std::vector<rules::Member> members = call.db().transact([&](db::Txn& txn) {
        if (auto error = rules::why_not(view(txn, self), operation)) throw *std::move(error);
        marks.mark(txn, self, operation);
        std::vector<rules::Member> out;
        for (const auto vm : txn.get(self).VMs)
            if (const Vm& row = txn.get(vm); concerns(operation, row))
                out.push_back(member_of(vm, row));
        return out;
    });
    std::vector<rules::Wave> waves = operation == Op::start
                                         ? rules::start_waves(std::move(members))
                                         : rules::shutdown_waves(std::move(members));
    const std::vector<std::string> failed =
        co_await run_waves(call.caller(), std::move(waves), std::move(work));
    if (failed.empty()) co_return;
    std::vector<std::string> params = {std::string(wire_text(operation))};
    params.insert(params.end(), failed.begin(), failed.end());
    throw ApiError(err::operation_partially_failed("").code(), std::move(params));
}

Task<std::vector<std::string>> ApplianceDomain::run_waves(basalt::Caller caller,
                                                          std::vector<rules::Wave> waves,
                                                          Work work) {
    const auto failed = std::make_shared<std::vector<std::string>>();
    for (const rules::Wave& wave : waves) {
        std::vector<Task<void>> together;
        for (const std::string& vm : wave.vms)
            together.push_back(run_one(caller, vm, work, failed));
        co_await all(core_.loop, std::move(together));
        if (wave.delay_seconds > 0)
            co_await sleep_for(core_.loop, std::chrono::seconds(wave.delay_seconds));
    }
    co_return *failed;
}

Task<void> ApplianceDomain::run_one(basalt::Caller caller, std::string vm, Work work,
                                    std::shared_ptr<std::vector<std::string>> failed) {
    const MessageInfo* message = find_message(work.message);
    Call own(core_, *message, std::move(caller));
    const log::Scope scope(own.context());
    const Time begun = core_.loop.now();
    std::exception_ptr failure;
    try {
        co_await work.act(own, Ref<Vm>::parse(vm));
    } catch (const ApiError&) {
        failure = std::current_exception();
        failed->push_back(vm);
    }
    core::Tasks::note_end(own, begun, failure);
    core_.tasks->end_synchronous(own);
}

Task<void> ApplianceDomain::power_on() {
    constexpr const char* key = "auto_poweron";
    std::vector<rules::Member> members;
    const Pool* pool = core_.db.find(core_.pool);
    if (pool == nullptr || pool->other_config.get(std::string(key)) != "true") co_return;
    core_.db.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
        const bool plain = !vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain;
        if (plain && vm.power_state == VmPowerState::halted &&
            vm.other_config.get(std::string(key)) == "true")
            members.push_back(member_of(ref, vm));
    });
    Act act = [this](Call& own, Ref<Vm> vm) {
        return vms_.start(own, {.vm = vm, .start_paused = false, .force = false});
    };
    Work work{"VM.start", std::move(act)};
    basalt::Caller caller;
    caller.root = true;
    const std::vector<std::string> failed = co_await run_waves(
        std::move(caller), rules::start_waves(std::move(members)), std::move(work));
    for (const std::string& vm : failed)
        log::warn("auto_poweron_failed", {{"vm", vm}});
}

}  // namespace basalt::domain
