#include "xapi/domain/balloons.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/vm_guest_metrics.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"
#include "xapi/rules/memory_share.hpp"

namespace basalt::domain {

namespace {

constexpr Duration room_limit = 60s;
constexpr Duration balance_pause = 10s;
constexpr std::size_t looked_at_once = 256;
// Less is not worth a guest's work.
constexpr std::int64_t worth_moving_bytes = std::int64_t{4} * 1024 * 1024;

std::int64_t actual_bytes(const db::Txn& txn, const Vm& vm) {
    const VmMetrics* metrics = txn.find(vm.metrics);
    return metrics != nullptr && has_domain(vm) ? metrics->memory_actual : 0;
}

// The guests of a host, what each may be given, and what there is for all.
struct Shares {
    std::vector<Ref<Vm>> vms;
    std::vector<rules::MemoryClaim> claims;
    std::int64_t available = 0;
    std::int64_t free = 0;  // that no VM has or was promised

    [[nodiscard]] std::vector<std::int64_t> shared() const {
        return rules::share_memory(claims, available);
    }
};

bool is_free_to_move(const db::Txn& txn, const Vm& vm) {
    return can_balloon(txn, vm) && vm.current_operations.empty();
}

Shares shares_of(const db::Txn& txn, Ref<Host> host, Ref<Vm> newcomer = {}) {
    Shares out;
    const HostMetrics* metrics = txn.find(txn.get(host).metrics);
    out.available = out.free = metrics != nullptr ? metrics->memory_total : 0;
    txn.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
        const bool here = vm.resident_on == host || vm.scheduled_to_be_resident_on == host;
        if (!here && ref != newcomer) return;
        out.available -= vm.memory_overhead;
        const std::int64_t held = memory_held_bytes(txn, vm);
        if (here) out.free -= held + vm.memory_overhead;
        rules::MemoryClaim claim{held, held};
        const bool can_choose = ref == newcomer && vm.power_state == VmPowerState::halted;
        if (can_choose || is_free_to_move(txn, vm))
            claim = {vm.memory_dynamic_min, vm.memory_dynamic_max};
        out.vms.push_back(ref);
        out.claims.push_back(claim);
    });
    return out;
}

// Whether its share can differ from what it has: most guests need no look at all.
bool is_worth_a_look(const Vm& vm) {
    return !vm.is_control_domain && (vm.memory_dynamic_min != vm.memory_dynamic_max ||
                                     vm.memory_target != vm.memory_dynamic_max);
}

}  // namespace

std::int64_t memory_held_bytes(const db::Txn& txn, const Vm& vm) {
    return memory_held_bytes(vm, txn.find(vm.metrics));
}

bool can_balloon(const db::Txn& txn, const Vm& vm) {
    if (vm.power_state != VmPowerState::running || vm.is_control_domain) return false;
    const VmGuestMetrics* guest = txn.find(vm.guest_metrics);
    return guest != nullptr && guest->memory.contains(std::string("total"));
}

bool is_cooperative(const db::Txn& txn, const Vm& vm) {
    return !has_domain(vm) || vm.is_control_domain ||
           rules::has_reached(actual_bytes(txn, vm), vm.memory_target);
}

Balloons::Room Balloons::make_room(db::Txn& txn, Ref<Host> host, Ref<Vm> vm) {
    const Vm& newcomer = txn.get(vm);
    const std::int64_t most = newcomer.power_state == VmPowerState::halted
                                  ? newcomer.memory_dynamic_max
                                  : memory_held_bytes(txn, newcomer);
    if (memory_.of(host).wanted + most + newcomer.memory_overhead <=
        memory_total_bytes(txn, host)) {
        txn.edit(vm).memory_target = most;  // there is enough for everybody
        return {};
    }
    const Shares shares = shares_of(txn, host, vm);
    const std::vector<std::int64_t> shared = shares.shared();
    Room room;
    for (std::size_t i = 0; i < shared.size(); ++i) {
        const Ref<Vm> one = shares.vms[i];
        if (one == vm) {
            txn.edit(vm).memory_target = shared[i];
        } else if (shared[i] < memory_held_bytes(txn, txn.get(one))) {
            room.push_back({one, shared[i]});
        }
    }
    // Those who need not move are left alone: all give only when there is not enough.
    if (shares.free >= memory_held_bytes(txn, txn.get(vm)) + txn.get(vm).memory_overhead)
        room.clear();
    return room;
}

Task<void> Balloons::tell(agent::Host& agent, agent::Operation operation, Target target) {
    const Vm* row = core_.db.find(target.vm);
    if (row == nullptr) co_return;
    std::optional<ApiError> failure;
    try {
        co_await agent.vm_set_memory(std::move(operation), {row->uuid, target.bytes});
    } catch (const ApiError& error) {
        failure = error;
    }
    if (failure) {
        // It has just ended, most likely: then its memory is free anyway.
        log::warn("balloon_not_moved", {{"vm", target.vm.text()}, {"error", failure->what()}});
        co_return;
    }
    core_.db.transact_fact([&](db::Txn& txn) {
        const Vm* now = txn.find(target.vm);
        if (now != nullptr && has_domain(*now)) txn.edit(target.vm).memory_target = target.bytes;
    });
}

Task<void> Balloons::await_room(Call& call, Ref<Host> host, Room room) {
    if (room.empty()) co_return;
    agent::Host& agent = core_.hosts->agent(host);
    for (const Target& target : room)
        co_await tell(agent, call.operation(0, 0), target);
    const Time deadline = core_.loop.now() + room_limit;
    const auto missing = [&] {
        return core_.db.transact([&](db::Txn& txn) {
            return !std::ranges::all_of(room, [&](const Target& target) {
                const Vm* vm = txn.find(target.vm);
                return vm == nullptr || vm->resident_on != host || is_cooperative(txn, *vm);
            });
        });
    };
    while (missing()) {
        if (core_.loop.now() >= deadline) {
            std::int64_t needed = 0;
            for (const Target& target : room)
                needed += target.bytes;
            throw err::host_not_enough_free_memory(needed, core_.db.transact([&](db::Txn& txn) {
                return memory_free_bytes(txn, host);
            }));
        }
        co_await core_.db.changed_since(core_.db.published(), 1s);
    }
}

Task<void> Balloons::balance(Ref<Host> host) {
    if (core_.db.find(host) == nullptr || !core_.hosts->connected(host)) co_return;
    const Room moves = core_.db.transact([&](db::Txn& txn) {
        const Shares shares = shares_of(txn, host);
        const std::vector<std::int64_t> shared = shares.shared();
        Room room;
        for (std::size_t i = 0; i < shared.size(); ++i) {
            const Vm& vm = txn.get(shares.vms[i]);
            const std::int64_t distance = std::llabs(shared[i] - vm.memory_target);
            const bool at_an_end =
                shared[i] == vm.memory_dynamic_max || shared[i] == vm.memory_dynamic_min;
            if (is_free_to_move(txn, vm) && distance > 0 &&
                (at_an_end || distance >= worth_moving_bytes))
                room.push_back({shares.vms[i], shared[i]});
        }
        // Who gives comes before who takes.
        std::ranges::stable_sort(room, {}, [&](const Target& target) {
            return target.bytes > txn.get(target.vm).memory_target;
        });
        return room;
    });
    for (const Target& move : moves) {
        const std::string id = core_.new_uuid();
        co_await tell(core_.hosts->agent(host), {id, core_.term, {}, {}}, move);
        core_.hosts->landed({id});
    }
}

/// Hosts with guests whose shares may differ from what they have. In parts: it looks at every VM.
Task<std::set<Ref<Host>>> Balloons::uneven_hosts() {
    std::set<Ref<Host>> out;
    const db::Rows vms = core_.db.snapshot(xenapi::class_of<Vm>());
    std::size_t looked_at = 0;
    for (const db::Row* row : vms.pointers()) {
        if (++looked_at % looked_at_once == 0) co_await core_.turns.next({"", "memory balance"});
        const Vm& vm = row->as<Vm>();
        if (vm.resident_on && is_worth_a_look(vm)) out.insert(vm.resident_on);
    }
    co_return out;
}

Task<void> Balloons::balance_forever() {
    for (;;) {
        co_await sleep_for(core_.loop, balance_pause);
        memory_.catch_up();
        const std::set<Ref<Host>> hosts = co_await uneven_hosts();
        for (const Ref<Host> host : hosts) {
            co_await core_.turns.next({"", "memory balance"});
            try {
                co_await balance(host);
            } catch (const ApiError& error) {
                log::warn("balance_failed", {{"host", host.text()}, {"error", error.what()}});
            }
        }
    }
}

}  // namespace basalt::domain
