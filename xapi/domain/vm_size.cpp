// Class VM: memory and vCPUs.
#include <algorithm>

#include "idl/errors.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

struct Limits {
    std::optional<std::int64_t> static_min{};
    std::optional<std::int64_t> static_max{};
    std::optional<std::int64_t> dynamic_min{};
    std::optional<std::int64_t> dynamic_max{};
};

void set_limits(Call& call, Ref<Vm> self, VmOperations operation, Limits limits) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, self, operation);
        Vm& vm = txn.edit(self);
        vm.memory_static_min = limits.static_min.value_or(vm.memory_static_min);
        vm.memory_static_max = limits.static_max.value_or(vm.memory_static_max);
        vm.memory_dynamic_min = limits.dynamic_min.value_or(vm.memory_dynamic_min);
        vm.memory_dynamic_max = limits.dynamic_max.value_or(vm.memory_dynamic_max);
        require_memory_order(vm);
        vm.memory_overhead = memory_overhead_bytes(vm);
    });
}

// Whether its host could give a running guest so much: what is free, and what others would give up.
void require_room(const db::Txn& txn, const Vm& vm, std::int64_t wanted) {
    const std::int64_t own = memory_held_bytes(txn, vm);
    const std::int64_t own_squeezable = can_balloon(txn, vm) && is_cooperative(txn, vm)
                                            ? std::max<std::int64_t>(0, own - vm.memory_dynamic_min)
                                            : 0;
    const std::int64_t obtainable = memory_free_bytes(txn, vm.resident_on) +
                                    memory_squeezable_bytes(txn, vm.resident_on) - own_squeezable;
    if (wanted - own > obtainable) throw err::host_not_enough_free_memory(wanted - own, obtainable);
}

}  // namespace

Task<void> VmDomain::set_memory(Call& call, VmSetMemory params) {
    // One number for all: never below the floor that the template gives.
    const std::int64_t floor = std::min(call.db().get(params.self).memory_static_min, params.value);
    set_limits(call, params.self, VmOperations::changing_memory_limits,
               {floor, params.value, params.value, params.value});
    co_return;
}

Task<void> VmDomain::set_memory_limits(Call& call, VmSetMemoryLimits params) {
    set_limits(call, params.self, VmOperations::changing_memory_limits,
               {params.static_min, params.static_max, params.dynamic_min, params.dynamic_max});
    co_return;
}

Task<void> VmDomain::set_memory_static_range(Call& call, VmSetMemoryStaticRange params) {
    set_limits(call, params.self, VmOperations::changing_static_range,
               {.static_min = params.min, .static_max = params.max});
    co_return;
}

Task<void> VmDomain::set_memory_dynamic_range(Call& call, VmSetMemoryDynamicRange params) {
    return set_dynamic(call, params.self, VmOperations::changing_dynamic_range, params.min,
                       params.max);
}

Task<void> VmDomain::set_memory_static_max(Call& call, VmSetMemoryStaticMax params) {
    set_limits(call, params.self, VmOperations::changing_static_range,
               {.static_max = params.value});
    co_return;
}

Task<void> VmDomain::set_memory_static_min(Call& call, VmSetMemoryStaticMin params) {
    set_limits(call, params.self, VmOperations::changing_static_range,
               {.static_min = params.value});
    co_return;
}

Task<void> VmDomain::set_memory_dynamic_max(Call& call, VmSetMemoryDynamicMax params) {
    const std::int64_t least = call.db().get(params.self).memory_dynamic_min;
    return set_dynamic(call, params.self, VmOperations::changing_dynamic_range, least,
                       params.value);
}

Task<void> VmDomain::set_memory_dynamic_min(Call& call, VmSetMemoryDynamicMin params) {
    const std::int64_t most = call.db().get(params.self).memory_dynamic_max;
    return set_dynamic(call, params.self, VmOperations::changing_dynamic_range, params.value, most);
}

Task<void> VmDomain::set_dynamic(Call& call, Ref<Vm> self, VmOperations operation,
                                 std::int64_t least, std::int64_t most) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        require(txn, self, operation);
        const Vm before = txn.get(self);
        Vm& vm = txn.edit(self);
        vm.memory_dynamic_min = least;
        vm.memory_dynamic_max = most;
        require_memory_order(vm);
        if (before.resident_on) require_room(txn, before, least);
        return before.is_control_domain ? Ref<Host>{} : before.resident_on;
    });
    if (host) co_await balloons_.balance(host);
}

Task<void> VmDomain::set_HVM_shadow_multiplier(Call& call, VmSetHvmShadowMultiplier params) {
    if (!(params.value >= 1)) throw err::invalid_value("multiplier", std::to_string(params.value));
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VmOperations::changing_shadow_memory);
        Vm& vm = txn.edit(params.self);
        vm.HVM_shadow_multiplier = params.value;
        vm.memory_overhead = memory_overhead_bytes(vm);
    });
    co_return;
}

Task<std::int64_t> VmDomain::compute_memory_overhead(Call& call, VmComputeMemoryOverhead params) {
    co_return memory_overhead_bytes(call.db().get(params.vm));
}

Task<std::int64_t> VmDomain::maximise_memory(Call& call, VmMaximiseMemory params) {
    // The most memory of which, with its own overhead, `total` is enough; the overhead grows with
    // it.
    Vm vm = call.db().get(params.self);
    std::int64_t low = 0;
    std::int64_t high = params.total;
    while (low < high) {
        const std::int64_t middle = low + (high - low + 1) / 2;
        vm.memory_static_max = middle;
        if (middle + memory_overhead_bytes(vm) <= params.total) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    constexpr std::int64_t mib = 1024 * 1024;
    co_return params.approximate ? low / mib* mib : low;
}

Task<void> VmDomain::set_VCPUs_max(Call& call, VmSetVCPUsMax params) {
    call.db().transact([&](db::Txn& txn) {
        require_vcpu_order(txn.get(params.self).VCPUs_at_startup, params.value, params.value);
        require(txn, params.self, VmOperations::changing_vcpus);
        Vm& vm = txn.edit(params.self);
        vm.VCPUs_max = params.value;
        vm.memory_overhead = memory_overhead_bytes(vm);
    });
    co_return;
}

Task<void> VmDomain::set_VCPUs_at_startup(Call& call, VmSetVCPUsAtStartup params) {
    call.db().transact([&](db::Txn& txn) {
        require_vcpu_order(params.value, txn.get(params.self).VCPUs_max, params.value);
        require(txn, params.self, VmOperations::changing_vcpus);
        txn.edit(params.self).VCPUs_at_startup = params.value;
    });
    co_return;
}

}  // namespace basalt::domain
