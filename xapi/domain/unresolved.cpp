#include "xapi/domain/unresolved.hpp"

#include <set>

#include "base/log.hpp"
#include "idl/records/vbd.hpp"
#include "xapi/domain/vm_landing.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

bool makes_disk(const std::string& verb) {
    return verb == "vdi_create" || verb == "vdi_clone" || verb == "vdi_snapshot" ||
           verb == "vdi_copy";
}

}  // namespace

Unresolved::Unresolved(core::Core& core, Storage& storage, std::vector<agent::OperationEnd> ends)
    : core_(core), ends_(std::move(ends)) {
    for (const agent::OperationEnd& end : ends_) {
        // Also of one that failed: it may have done so only when it was tried a second time.
        const bool orphan =
            makes_disk(end.verb) && !end.vdi.empty() && !core_.db.by_uuid<Vdi>(end.vdi);
        log::info("operation_resolved", {{"operation", end.id},
                                         {"verb", end.verb},
                                         {"done", end.done},
                                         {"vm", end.vm},
                                         {"vdi", end.vdi},
                                         {"orphan", orphan}});
        if (orphan) {
            orphans_.push_back({end, storage.hide(end.vdi)});
        } else {
            settled_.push_back(end.id);
        }
    }
}

void Unresolved::land(db::Txn& txn, Ref<Host> host) {
    std::set<std::string> woken;
    for (const agent::OperationEnd& end : ends_)
        if (end.done && end.verb == "vm_resume") woken.insert(end.vdi);
    for (const agent::OperationEnd& end : ends_) {
        // The answers are in no order: a guest that slept and woke did so in this one.
        if (!end.done || (end.verb == "vm_suspend" && woken.contains(end.vdi))) continue;
        if (end.verb == "vdi_destroy") land_disk_end(txn, end);
        if (end.verb == "vm_suspend" || end.verb == "vm_resume") land_guest_end(txn, host, end);
    }
}

void Unresolved::land_disk_end(db::Txn& txn, const agent::OperationEnd& end) {
    const auto disk = core_.db.by_uuid<Vdi>(end.vdi);
    if (disk && txn.find(*disk) != nullptr) Storage::erase_disk(txn, *disk);
}

void Unresolved::land_guest_end(db::Txn& txn, Ref<Host> host, const agent::OperationEnd& end) {
    const auto vm = core_.db.by_uuid<Vm>(end.vm);
    const auto image = core_.db.by_uuid<Vdi>(end.vdi);
    if (!vm || !image || txn.find(*image) == nullptr) return;
    const Vm& row = txn.get(*vm);
    if (end.verb == "vm_suspend" && row.resident_on == host && has_domain(row)) {
        land_suspended(core_, txn, *vm, *image);
        txn.edit(*image).provisional = false;
    }
    // It woke: that image must never be resumed from again, whatever became of the guest since. If
    // it runs, that is landed next.
    if (end.verb == "vm_resume" && row.power_state == VmPowerState::suspended &&
        row.suspend_VDI == *image)
        land_halted(core_, txn, *vm);
}

Task<void> Unresolved::clean(agent::Host& agent, NextOperation next) {
    for (Orphan& orphan : orphans_) {
        const agent::OperationEnd& end = orphan.end;
        std::string failure;
        try {
            co_await agent.vdi_destroy(next(), {{end.sr, end.vdi, end.location}});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (failure.empty() || !end.done) {
            settled_.push_back(end.id);
        } else {
            log::error("disk_not_cleaned", {{"vdi", end.vdi}, {"error", failure}});
        }
    }
}

}  // namespace basalt::domain
