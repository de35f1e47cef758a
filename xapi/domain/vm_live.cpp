// Class VM: what changes a running guest.
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vm_spec.hpp"
#include "xapi/domain/words.hpp"
#include "xapi/rules/memory_share.hpp"
#include "xapi/rules/vcpu_params.hpp"

namespace basalt::domain {

namespace {

constexpr Duration target_limit = std::chrono::seconds(256);

// As the real server's hypervisor names them.
agent::GuestSignal trigger_of(const std::string& name) {
    using enum agent::GuestSignal;
    constexpr std::array<std::pair<std::string_view, agent::GuestSignal>, 5> known = {
        {{"nmi", nmi}, {"power", power}, {"reset", reset}, {"sleep", sleep}, {"s3resume", wakeup}}};
    for (const auto& [word, signal] : known)
        if (word == name) return signal;
    throw err::invalid_value("trigger", name);
}

}  // namespace

Task<void> VmDomain::set_memory_target_live(Call& call, VmSetMemoryTargetLive params) {
    return set_dynamic(call, params.self, VmOperations::changing_memory_live, params.target,
                       params.target);
}

Task<void> VmDomain::wait_memory_target_live(Call& call, VmWaitMemoryTargetLive params) {
    core::Operation marks(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::awaiting_memory_live);
        marks.mark(txn, params.self, VmOperations::awaiting_memory_live);
    });
    const auto reached = [&] {
        return call.db().transact([&](db::Txn& txn) {
            const Vm& vm = txn.get(params.self);
            const VmMetrics* metrics = txn.find(vm.metrics);
            const std::int64_t actual = metrics != nullptr ? metrics->memory_actual : 0;
            return rules::has_reached(actual, vm.memory_target) &&
                   rules::has_reached(vm.memory_target, actual);
        });
    };
    const Time deadline = core_.loop.now() + target_limit;
    while (!reached()) {
        if (core_.loop.now() >= deadline) throw err::vm_memory_target_wait_timeout(call.task());
        co_await core_.db.changed_since(core_.db.published(), 1s);
    }
}

Task<bool> VmDomain::get_cooperative(Call& call, VmGetCooperative params) {
    co_return call.db().transact(
        [&](db::Txn& txn) { return is_cooperative(txn, txn.get(params.self)); });
}

Task<void> VmDomain::set_shadow_multiplier_live(Call& call, VmSetShadowMultiplierLive params) {
    if (!(params.multiplier >= 1) || !std::isfinite(params.multiplier))
        throw err::invalid_value("multiplier", std::to_string(params.multiplier));
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_shadow_memory_live);
        const std::int64_t free = memory_free_bytes(txn, txn.get(params.self).resident_on);
        Vm& vm = txn.edit(params.self);
        vm.HVM_shadow_multiplier = params.multiplier;
        const std::int64_t more = memory_overhead_bytes(vm) - vm.memory_overhead;
        if (more > free) throw err::host_not_enough_free_memory(more, free);
        vm.memory_overhead = memory_overhead_bytes(vm);
    });
    co_return;
}

Task<void> VmDomain::set_VCPUs_number_live(Call& call, VmSetVCPUsNumberLive params) {
    core::Operation marks(call);
    const auto [host, uuid] = call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_vcpus_live);
        const Vm& vm = txn.get(params.self);
        require_vcpu_order(params.nvcpu, vm.VCPUs_max, params.nvcpu);
        marks.mark(txn, params.self, VmOperations::changing_vcpus_live);
        return std::pair{vm.resident_on, vm.uuid};
    });
    co_await call.committed();
    co_await core_.hosts->agent(host).vm_set_vcpus(call.operation(), {uuid, params.nvcpu});
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(params.self).VCPUs_at_startup = params.nvcpu;
        const Ref<VmMetrics> metrics = txn.get(params.self).metrics;
        if (txn.find(metrics) != nullptr) txn.edit(metrics).VCPUs_number = params.nvcpu;
        marks.unmark(txn);
        call.succeed(txn);
    });
}

Task<void> VmDomain::add_to_VCPUs_params_live(Call& call, VmAddToVCPUsParamsLive params) {
    rules::VcpuParams checked;
    rules::take_vcpu_param(checked, params.key, params.value);
    Vm changed = call.db().get(params.self);
    if (!changed.VCPUs_params.emplace(params.key, params.value).second)
        throw err::map_duplicate_key("VM", "VCPUs_params", params.self, params.key);
    if (has_domain(changed)) {
        co_await call.committed();
        agent::CpuShares shares = cpu_shares(changed);
        co_await core_.hosts->agent(changed.resident_on)
            .vm_set_cpu(call.operation(), {changed.uuid, std::move(shares)});
    }
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(params.self).VCPUs_params.insert_or_assign(params.key, params.value);
    });
}

Task<void> VmDomain::signal(Call& call, Ref<Vm> vm, VmOperations operation,
                            agent::GuestSignal signal, std::string key) {
    core::Operation marks(call);
    const auto [host, uuid] = call.db().transact([&](db::Txn& txn) {
        require(txn, vm, operation);
        marks.mark(txn, vm, operation);
        return std::pair{txn.get(vm).resident_on, txn.get(vm).uuid};
    });
    co_await call.committed();
    co_await core_.hosts->agent(host).vm_signal(call.operation(), {uuid, signal, std::move(key)});
}

Task<void> VmDomain::send_sysrq(Call& call, VmSendSysrq params) {
    return signal(call, params.vm, VmOperations::send_sysrq, agent::GuestSignal::sysrq,
                  std::move(params.key));
}

Task<void> VmDomain::send_trigger(Call& call, VmSendTrigger params) {
    return signal(call, params.vm, VmOperations::send_trigger, trigger_of(params.trigger), {});
}

Task<void> VmDomain::s3_suspend(Call& call, VmS3Suspend params) {
    return signal(call, params.vm, VmOperations::send_trigger, agent::GuestSignal::sleep, {});
}

Task<void> VmDomain::s3_resume(Call& call, VmS3Resume params) {
    return signal(call, params.vm, VmOperations::send_trigger, agent::GuestSignal::wakeup, {});
}

// What runs inside a guest is asked of an agent that no guest of this hypervisor has.
Task<std::string> VmDomain::call_plugin(Call& call, VmCallPlugin params) {
    call.db().transact([&](db::Txn& txn) { require(txn, params.vm, VmOperations::call_plugin); });
    if (params.plugin != "guest-agent-operation") throw err::xenapi_missing_plugin(params.plugin);
    throw err::vm_lacks_feature(params.vm);
    co_return "";
}

Task<std::string> VmDomain::call_host_plugin(Call& call, VmCallHostPlugin params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vm, VmOperations::call_plugin);
        return txn.get(params.vm).resident_on;
    });
    co_return co_await core_.hosts->agent(host).plugin_call(
        {params.plugin,
         params.fn,
         {params.args.begin(), params.args.end()},
         call.caller().session.text()});
}

// The guest's device model is its whole process: it is put to sleep and wakes in a new one.
Task<void> VmDomain::restart_device_models(Call& call, VmRestartDeviceModels params) {
    core::Operation marks(call);
    const Vm before = call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::pool_migrate);
        marks.mark(txn, params.self, VmOperations::pool_migrate);
        return txn.get(params.self);
    });
    co_await put_to_sleep(call, params.self, [](db::Txn&) {});
    co_await wake_again(call, params.self, before);
    call.db().transact_fact([&](db::Txn& txn) {
        marks.unmark(txn);
        call.succeed(txn);
    });
}

}  // namespace basalt::domain
