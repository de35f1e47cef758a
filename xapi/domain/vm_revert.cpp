// Class VM: snapshots with memory, and the way back to a snapshot.
#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_landing.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t switch_off_seconds = 60;
constexpr Duration host_back_limit = std::chrono::minutes(2);

// What a snapshot does not decide: who the VM is, where it stands in the pool, what hangs on it.
void restore_settings(Vm& row, const Vm& snapshot) {
    Vm next = snapshot;
    next.uuid = row.uuid;
    next.allowed_operations = row.allowed_operations;
    next.current_operations = row.current_operations;
    next.name_label = row.name_label;
    next.name_description = row.name_description;
    next.power_state = row.power_state;
    next.is_a_template = row.is_a_template;
    next.is_default_template = row.is_default_template;
    next.suspend_VDI = row.suspend_VDI;
    next.resident_on = row.resident_on;
    next.scheduled_to_be_resident_on = row.scheduled_to_be_resident_on;
    next.left_over_on = row.left_over_on;
    next.memory_target = row.memory_target;
    next.consoles = row.consoles;
    next.VIFs = row.VIFs;
    next.VBDs = row.VBDs;
    next.VUSBs = row.VUSBs;
    next.crash_dumps = row.crash_dumps;
    next.VTPMs = row.VTPMs;
    next.domid = row.domid;
    next.metrics = row.metrics;
    next.guest_metrics = row.guest_metrics;
    next.is_a_snapshot = false;
    next.snapshot_of = {};
    next.snapshots = row.snapshots;
    next.snapshot_time = {};
    next.transportable_snapshot_id.clear();
    next.blobs = row.blobs;
    next.blocked_operations = row.blocked_operations;
    next.snapshot_info = {};
    next.snapshot_metadata.clear();
    next.parent = row.parent;
    next.children = row.children;
    next.protection_policy = row.protection_policy;
    next.is_snapshot_from_vmpp = false;
    next.snapshot_schedule = row.snapshot_schedule;
    next.is_vmss_snapshot = false;
    next.appliance = row.appliance;
    next.VGPUs = row.VGPUs;
    next.attached_PCIs = row.attached_PCIs;
    next.groups = row.groups;
    next.pending_guidances = row.pending_guidances;
    next.pending_guidances_recommended = row.pending_guidances_recommended;
    next.pending_guidances_full = row.pending_guidances_full;
    next.recommended_guidances = row.recommended_guidances;
    next.requires_reboot = false;
    row = std::move(next);
}

// A disk that the snapshot has an older state of gives way to it. Later snapshots of it are of the
// new one from now on.
void replace_disk(db::Txn& txn, Ref<Vdi> old, Ref<Vdi> next) {
    std::vector<Ref<Vdi>> older;
    txn.each<Vdi>([&](Ref<Vdi> ref, const Vdi& row) {
        if (row.snapshot_of == old) older.push_back(ref);
    });
    for (const Ref<Vdi> snapshot : older)
        txn.edit(snapshot).snapshot_of = next;
}

bool has_other_users(const db::Txn& txn, Ref<Vdi> disk, Ref<Vm> vm) {
    return std::ranges::any_of(txn.get(disk).VBDs,
                               [&](Ref<Vbd> vbd) { return txn.get(vbd).VM != vm; });
}

/// The drives of the snapshot instead of the VM's own. Disks that were not in the snapshot stay,
/// and stay in their drives unless those are taken. Answers the disks that gave way.
std::vector<Ref<Vdi>> restore_drives(db::Txn& txn, Ref<Vm> vm,
                                     const std::vector<DriveCopy>& copies) {
    std::map<Ref<Vdi>, Ref<Vdi>> replaced;
    std::set<std::string> taken;
    for (const DriveCopy& copy : copies) {
        const Vbd& source = txn.get(copy.source);
        taken.insert(source.userdevice);
        if (source.type != VbdType::disk || !source.VDI) continue;
        if (const auto old = txn.get(source.VDI).snapshot_of; txn.find(old) != nullptr)
            replaced.emplace(old, copy.disk);
    }
    std::vector<Ref<Vdi>> obsolete;
    for (const auto vbd : std::vector(txn.get(vm).VBDs)) {
        const Vbd row = txn.get(vbd);
        const auto next = replaced.find(row.VDI);
        const bool gives_way = row.VDI && next != replaced.end();
        if (gives_way) {
            replace_disk(txn, next->first, next->second);
            if (!has_other_users(txn, row.VDI, vm)) {
                txn.edit(row.VDI).provisional = true;
                obsolete.push_back(row.VDI);
            }
        }
        if (gives_way || row.type == VbdType::cd || taken.contains(row.userdevice)) txn.erase(vbd);
    }
    for (const DriveCopy& copy : copies)
        add_drive(txn, copy, vm);
    return obsolete;
}

template <class R>
std::vector<Ref<R>> those_of(const db::Txn& txn, Ref<Vm> vm) {
    std::vector<Ref<R>> found;
    txn.each<R>([&](Ref<R> ref, const R& row) {
        if (row.VM == vm) found.push_back(ref);
    });
    return found;
}

// As of any guest that sleeps: nobody else may write to what it relies on.
void land_asleep(db::Txn& txn, Ref<Vm> vm, Ref<Vdi> image) {
    Vm& row = txn.edit(vm);
    row.suspend_VDI = image;
    row.power_state = VmPowerState::suspended;
    // The VM's own sets follow only when the transaction ends.
    for (const Ref<Vbd> vbd : those_of<Vbd>(txn, vm)) {
        Vbd& drive = txn.edit(vbd);
        drive.currently_attached = true;
        drive.device = disk_name(disk_position(drive.userdevice));
    }
    for (const Ref<Vif> vif : those_of<Vif>(txn, vm))
        txn.edit(vif).currently_attached = true;
}

void note(core::Core& core, db::Txn& txn, Ref<Vm> vm, const char* what) {
    const Vm& row = txn.get(vm);
    post_message(core, txn, what, 5, Cls::vm, row.uuid, "VM '" + row.name_label + "'");
}

}  // namespace

Task<void> VmDomain::revert(Call& call, VmRevert params) {
    const Ref<Vm> snapshot = params.snapshot;
    core::Operation marks(call);
    const CopySpec spec{.source = snapshot, .name = {}, .kind = CopyKind::clone};
    Ref<Vm> vm;
    const std::vector<DriveCopy> drives = call.db().transact([&](db::Txn& txn) {
        require(txn, snapshot, VmOperations::revert);
        vm = txn.get(snapshot).snapshot_of;
        if (txn.find(vm) == nullptr) throw err::vm_revert_failed(vm, snapshot);
        require(txn, vm, VmOperations::reverting);
        marks.mark(txn, snapshot, VmOperations::revert);
        marks.mark(txn, vm, VmOperations::reverting);
        return drives_to_copy(txn, spec);
    });
    std::vector<Ref<Vdi>> obsolete;
    Storage& storage = storage_;
    Storage::Drafts drafts(storage_);
    core::Hosts& hosts = *core_.hosts;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        // Everything that may fail comes before the guest is switched off.
        const std::vector<DriveCopy> copies =
            co_await copy_drives(call, spec, drives, drafts, undo);
        Ref<Vdi> image;
        if (const Ref<Vdi> kept = call.db().get(snapshot).suspend_VDI;
            call.db().find(kept) != nullptr) {
            image = co_await storage.clone_disk(call, kept, &drafts);
            undo.push("destroy suspend image",
                      [&storage, &call, image] { return storage.destroy_disk(call, image); });
        }
        if (const Vm now = call.db().get(vm); has_domain(now)) {
            co_await call.committed();
            co_await hosts.agent(now.resident_on)
                .vm_shutdown(call.operation(0.9, 1),
                             {now.uuid, agent::Method::hard, switch_off_seconds});
        }
        call.db().transact_fact([&](db::Txn& txn) {
            drafts.keep(txn);
            if (const Ref<Vdi> slept = txn.get(vm).suspend_VDI; txn.find(slept) != nullptr)
                obsolete.push_back(slept);
            land_halted(core_, txn, vm);
            for (const Ref<Vdi> disk : restore_drives(txn, vm, copies))
                obsolete.push_back(disk);
            for (const auto vif : std::vector(txn.get(vm).VIFs))
                txn.erase(vif);
            const Vm from = txn.get(snapshot);
            copy_nics(txn, from, vm, true);
            revert_vtpms(txn, from, vm);
            restore_settings(txn.edit(vm), from);
            txn.edit(vm).parent = snapshot;
            if (image) land_asleep(txn, vm, image);
            note(core_, txn, vm, "VM_SNAPSHOT_REVERTED");
            marks.unmark(txn);
            call.succeed(txn);
        });
    });
    for (const Ref<Vdi> disk : obsolete)
        co_await storage_.discard(disk)->wait();
}

Task<Ref<Vm>> VmDomain::checkpoint(Call& call, VmCheckpoint params) {
    const Ref<Vm> vm = params.vm;
    core::Operation marks(call);
    const CopySpec spec{
        .source = vm, .name = std::move(params.new_name), .kind = CopyKind::snapshot};
    Vm before;
    const std::vector<DriveCopy> drives = call.db().transact([&](db::Txn& txn) {
        require(txn, vm, VmOperations::checkpoint);
        marks.mark(txn, vm, VmOperations::checkpoint);
        before = txn.get(vm);
        return drives_to_copy(txn, spec);
    });
    if (has_domain(before)) co_await sleep_for_checkpoint(call, vm);
    Ref<Vm> made;
    Storage::Drafts drafts(storage_);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        Sleeper sleeper;
        std::exception_ptr failure;
        try {
            sleeper = co_await copy_asleep(call, spec, drives, drafts, undo);
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
        // Whatever became of the copies, the guest goes on; the snapshot is there when it does.
        if (has_domain(before)) co_await wake_again(call, vm, before);
        if (failure) std::rethrow_exception(failure);
        made = call.db().transact([&](db::Txn& txn) {
            drafts.keep(txn);
            const Ref<Vm> ref = land_copy(txn, spec, sleeper.drives);
            Vm& row = txn.edit(ref);
            row.suspend_VDI = sleeper.image;
            row.power_state = VmPowerState::suspended;
            row.snapshot_info.insert_or_assign("power-state-at-snapshot",
                                               std::string(wire_text(before.power_state)));
            note(core_, txn, vm, "VM_CHECKPOINTED");
            marks.unmark(txn);
            call.succeed(txn, Reply::of(ref));
            return ref;
        });
    });
    co_return made;
}

// A second guest that sleeps the same sleep: with copies of the disks and of the memory.
Task<Ref<Vm>> VmDomain::csvm(Call& call, VmCsvm params) {
    core::Operation marks(call);
    CopySpec spec{.source = params.vm, .name = {}, .kind = CopyKind::clone, .same_macs = true};
    const std::vector<DriveCopy> drives = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vm, VmOperations::csvm);
        const Vm& row = txn.get(params.vm);
        if (txn.find(row.suspend_VDI) == nullptr) throw err::vm_has_no_suspend_vdi(params.vm);
        spec.name = row.name_label;
        marks.mark(txn, params.vm, VmOperations::csvm);
        return drives_to_copy(txn, spec);
    });
    Ref<Vm> made;
    Storage::Drafts drafts(storage_);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        const Sleeper sleeper = co_await copy_asleep(call, spec, drives, drafts, undo);
        made = call.db().transact([&](db::Txn& txn) {
            drafts.keep(txn);
            const Ref<Vm> ref = land_copy(txn, spec, sleeper.drives);
            land_asleep(txn, ref, sleeper.image);
            marks.unmark(txn);
            call.succeed(txn, Reply::of(ref));
            return ref;
        });
    });
    co_return made;
}

Task<void> VmDomain::sleep_for_checkpoint(Call& call, Ref<Vm> vm) {
    std::optional<ApiError> failure;
    try {
        co_await put_to_sleep(call, vm, [](db::Txn&) {});
    } catch (const ApiError& error) {
        failure = error;
    }
    if (!failure) co_return;
    if (failure->code() != "INTERNAL_ERROR") throw *failure;
    log::warn("checkpoint_awake", {{"vm", vm.text()}, {"error", failure->what()}});
    throw err::vm_checkpoint_suspend_failed(vm);
}

Task<VmDomain::Sleeper> VmDomain::copy_asleep(Call& call, CopySpec spec,
                                              std::vector<DriveCopy> drives,
                                              Storage::Drafts& drafts, Undo& undo) {
    Storage& storage = storage_;
    Sleeper made;
    made.drives = co_await copy_drives(call, spec, std::move(drives), drafts, undo);
    co_await states_.collect(spec.source);
    // The guest wakes from its own image, which is used up then.
    const Ref<Vdi> own = call.db().get(spec.source).suspend_VDI;
    made.image = co_await storage.clone_disk(call, own, &drafts);
    undo.push("destroy suspend image",
              [&storage, &call, image = made.image] { return storage.destroy_disk(call, image); });
    co_return made;
}

Task<void> VmDomain::wake_again(Call& call, Ref<Vm> vm, Vm before) {
    // A cancel does not keep it asleep.
    co_await asio::this_coro::throw_if_cancelled(false);
    std::string asleep;
    try {
        co_await shielded(wake_where_it_was(call, vm, std::move(before)));
    } catch (const ApiError& error) {
        asleep = error.what();
    }
    co_await asio::this_coro::throw_if_cancelled(true);
    if (asleep.empty()) co_return;
    log::error("checkpoint_asleep", {{"vm", vm.text()}, {"error", asleep}});
    throw err::vm_checkpoint_resume_failed(vm);
}

Task<void> VmDomain::wake_where_it_was(Call& call, Ref<Vm> vm, Vm before) {
    // Its host may just be away for a moment.
    std::optional<ApiError> away;
    try {
        co_await within(core_.loop, host_back_limit,
                        core_.hosts->until_connected(before.resident_on),
                        err::host_offline(before.resident_on));
    } catch (const ApiError& error) {
        away = error;
    }
    if (away) log::warn("checkpoint_host_away", {{"vm", vm.text()}, {"error", away->what()}});
    co_await wake(call, {vm, {}, before.power_state == VmPowerState::paused, true},
                  [](db::Txn&) {});
}

}  // namespace basalt::domain
