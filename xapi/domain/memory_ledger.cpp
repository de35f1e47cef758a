#include "xapi/domain/memory_ledger.hpp"

#include <algorithm>
#include <set>

#include "xapi/domain/vm_rules.hpp"

namespace basalt::domain {

using namespace xenapi;

std::int64_t memory_held_bytes(const Vm& vm, const VmMetrics* metrics) {
    if (vm.is_control_domain) return vm.memory_static_max;
    const std::int64_t target = vm.memory_target > 0 ? vm.memory_target : vm.memory_dynamic_max;
    const bool measured = metrics != nullptr && has_domain(vm);
    return measured ? std::max(target, metrics->memory_actual) : target;
}

MemoryLedger::Use MemoryLedger::of(Ref<Host> host) {
    catch_up();
    const auto found = uses_.find(host);
    return found == uses_.end() ? Use{} : found->second;
}

void MemoryLedger::catch_up() {
    const db::Generation now = db_.published();
    if (now == seen_) return;
    const ClassInfo& vms = class_of<Vm>();
    const ClassInfo& metrics = class_of<VmMetrics>();
    if (!db_.covers(vms, seen_) || !db_.covers(metrics, seen_)) {
        entries_.clear();
        owners_.clear();
        uses_.clear();
        seen_ = 0;
    }
    if (seen_ != 0)
        db_.each_deleted(seen_, [&](const db::Tombstone& gone) {
            if (gone.cls == &vms) forget(Ref<Vm>{gone.ref});
        });
    db_.each_changed(vms, seen_,
                     [&](const db::RowPtr& row) { enter(Ref<Vm>{row->ref}, row->as<Vm>()); });
    db_.each_changed(metrics, seen_, [&](const db::RowPtr& row) {
        const auto owner = owners_.find(Ref<VmMetrics>{row->ref});
        if (owner == owners_.end()) return;
        const Ref<Vm> vm = owner->second;
        enter(vm, db_.get(vm));
    });
    seen_ = now;
}

void MemoryLedger::enter(Ref<Vm> ref, const Vm& vm) {
    forget(ref);
    if (!vm.resident_on && !vm.scheduled_to_be_resident_on) return;
    const std::int64_t held = memory_held_bytes(vm, db_.find(vm.metrics));
    const Entry entry{
        .metrics = vm.metrics,
        .on = vm.resident_on,
        .on_its_way_to = vm.scheduled_to_be_resident_on,
        .use = {.held = held + vm.memory_overhead,
                .wanted = std::max(held, vm.memory_dynamic_max) + vm.memory_overhead}};
    count(entry, 1);
    owners_[entry.metrics] = ref;
    entries_[ref] = entry;
}

void MemoryLedger::forget(Ref<Vm> ref) {
    const auto found = entries_.find(ref);
    if (found == entries_.end()) return;
    count(found->second, -1);
    owners_.erase(found->second.metrics);
    entries_.erase(found);
}

void MemoryLedger::count(const Entry& entry, std::int64_t sign) {
    for (const Ref<Host> host : std::set{entry.on, entry.on_its_way_to}) {
        Use& use = uses_[host];
        use.held += sign * entry.use.held;
        use.wanted += sign * entry.use.wanted;
    }
}

}  // namespace basalt::domain
