#include "xapi/domain/storage.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <unordered_set>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/crashdump.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr Duration sizes_interval = 1s;
constexpr std::size_t landed_at_once = 32;
constexpr std::size_t added_up_at_once = 512;

Task<void> end_all(std::vector<std::shared_ptr<Job>> jobs) {
    for (const auto& job : jobs)
        job->cancel();
    for (const auto& job : jobs)
        co_await job->wait();
}

std::map<std::string, std::string> std_map(const Map<std::string, std::string>& map) {
    return {map.begin(), map.end()};
}

agent::VdiSpec spec_of(const Vdi& row) {
    return {.uuid = row.uuid,
            .size_bytes = row.virtual_size,
            .name = row.name_label,
            .description = row.name_description,
            .type = std::string(wire_text(row.type)),
            .sm_config = std_map(row.sm_config)};
}

// What only the driver knows of a disk.
void apply(Vdi& row, const agent::VdiInfo& info) {
    row.location = info.location;
    row.virtual_size = info.size_bytes;
    row.physical_utilisation = info.used_bytes;
    for (const auto& [key, value] : info.sm_config)
        row.sm_config.insert_or_assign(key, value);
    if (!info.parent.empty()) row.sm_config.insert_or_assign("vhd-parent", info.parent);
}

// Whether a disk may be written over with so much: nobody else works with it.
void require_overwritable(db::Txn& txn, Ref<Vdi> into, std::int64_t size_bytes) {
    const Vdi& row = txn.get(into);
    for (const auto& [task, operation] : row.current_operations)
        throw err::other_operation_in_progress("VDI", into, wire_text(operation), task);
    if (row.read_only) throw err::vdi_readonly(into);
    if (view(txn, into, row).attached) throw err::vdi_in_use(into, "copy");
    if (row.virtual_size < size_bytes) throw err::vdi_too_small(into, size_bytes);
}

bool is_plugged(const db::Database& db, Ref<Sr> sr, Ref<Host> host) {
    return std::ranges::any_of(db.get(sr).PBDs, [&](Ref<Pbd> ref) {
        const Pbd* pbd = db.find(ref);
        return pbd != nullptr && pbd->host == host && pbd->currently_attached;
    });
}

/// VMs that an import made around a disk that it never filled: nobody but an import puts a disk
/// that is nobody's yet into a drive.
std::vector<Ref<Vm>> half_imported(const db::Txn& txn, Ref<Vdi> disk) {
    std::vector<Ref<Vm>> out;
    for (const auto vbd : txn.get(disk).VBDs) {
        const Ref<Vm> vm = txn.get(vbd).VM;
        const Vm* row = txn.find(vm);
        if (row != nullptr && row->other_config.contains(import_task_key)) out.push_back(vm);
    }
    return out;
}

}  // namespace

agent::Host& Storage::home_agent(Ref<Sr> sr) {
    return core::home_agent(core_, sr);
}

agent::DiskRef Storage::disk_ref(Ref<Vdi> disk) const {
    return core::disk_ref(core_.db, disk);
}

std::optional<agent::DiskRef> Storage::disk_ref_if(Ref<Vdi> disk) const {
    if (!disk) return std::nullopt;
    return disk_ref(disk);
}

std::string Storage::live_in(Ref<Vdi> disk) const {
    for (const auto vbd : core_.db.get(disk).VBDs) {
        const Vbd* row = core_.db.find(vbd);
        const Vm* vm = row != nullptr && row->currently_attached ? core_.db.find(row->VM) : nullptr;
        if (vm != nullptr && has_domain(*vm)) return vm->uuid;
    }
    return {};
}

Storage::Drafts::~Drafts() {
    for (const auto& [disk, hold] : disks_) {
        const Vdi* row = storage_.core_.db.find(disk);
        if (row != nullptr && row->provisional && !storage_.core_.stopping) storage_.discard(disk);
    }
}

void Storage::Drafts::add(Ref<Vdi> disk) {
    disks_.emplace(disk, storage_.hold(disk));
}

void Storage::Drafts::keep(db::Txn& txn) const {
    for (const auto& [disk, hold] : disks_)
        txn.edit(disk).provisional = false;
}

bool Storage::is_held(Ref<Vdi> disk) const {
    return held_.contains(disk);
}

std::shared_ptr<void> Storage::hold(Ref<Vdi> disk) {
    held_.insert(disk);
    return {nullptr, [this, disk](void*) { held_.erase(held_.find(disk)); }};
}

std::shared_ptr<void> Storage::hide(std::string uuid) {
    hidden_.insert(uuid);
    return {nullptr, [this, uuid](void*) { hidden_.erase(hidden_.find(uuid)); }};
}

Task<Ref<Vdi>> Storage::create_disk(Call& call, Vdi row, Drafts* drafts) {
    const Ref<Sr> sr = row.SR;
    core::Operation operation(call);
    call.db().require_space();
    call.db().transact([&](db::Txn& txn) {
        require(txn, sr, StorageOperations::vdi_create);
        operation.mark(txn, sr, StorageOperations::vdi_create);
    });
    if (row.virtual_size <= 0) throw err::invalid_value("virtual_size", row.virtual_size);
    row.uuid = core_.new_uuid();
    row.provisional = drafts != nullptr;
    const auto hidden = hide(row.uuid);
    co_await call.committed();
    const agent::VdiInfo info = co_await home_agent(sr).vdi_create(
        call.operation(), {call.db().get(sr).uuid, spec_of(row)});
    apply(row, info);
    // A driver whose disks are named by what they are (ISO images) chooses the uuid itself.
    if (!info.uuid.empty()) row.uuid = info.uuid;
    row.managed = true;
    row.missing = false;
    const Ref<Vdi> made = call.db().transact_fact([&](db::Txn& txn) {
        operation.unmark(txn);
        return txn.insert(std::move(row));
    });
    if (drafts != nullptr) drafts->add(made);
    refresh_sizes(sr);
    co_return made;
}

Task<void> Storage::destroy_disk(Call& call, Ref<Vdi> disk) {
    core::Operation operation(call);
    const Ref<Sr> sr = call.db().transact([&](db::Txn& txn) {
        require(txn, disk, VdiOperations::destroy);
        operation.mark(txn, disk, VdiOperations::destroy);
        return txn.get(disk).SR;
    });
    co_await call.committed();
    co_await home_agent(sr).vdi_destroy(call.operation(), {disk_ref(disk)});
    call.db().transact_fact([&](db::Txn& txn) {
        operation.unmark(txn);
        erase_disk(txn, disk);
    });
    refresh_sizes(sr);
}

void erase_imported(db::Txn& txn, Ref<Vm> ref) {
    const Vm* row = txn.find(ref);
    if (row == nullptr) return;
    const Vm vm = *row;
    for (const auto vbd : vm.VBDs)
        if (txn.find(vbd) != nullptr) txn.erase(vbd);
    for (const auto vif : vm.VIFs)
        if (txn.find(vif) != nullptr) txn.erase(vif);
    erase_vtpms(txn, vm);
    erase_vusbs(txn, vm);
    txn.erase(ref);
    if (txn.find(vm.metrics) != nullptr) txn.erase(vm.metrics);
}

void Storage::erase_disk(db::Txn& txn, Ref<Vdi> disk) {
    // Drives that named it are empty now; a disk drive without its disk goes with it.
    for (const auto vbd : std::vector(txn.get(disk).VBDs)) {
        if (txn.get(vbd).type == VbdType::cd) {
            txn.edit(vbd).VDI = {};
            txn.edit(vbd).empty = true;
        } else {
            txn.erase(vbd);
        }
    }
    for (const auto dump : std::vector(txn.get(disk).crash_dumps))
        txn.erase(dump);
    txn.erase(disk);
}

std::shared_ptr<Job> Storage::discard(Ref<Vdi> disk) {
    std::erase_if(discards_, [](const auto& job) { return job->finished(); });
    discards_.push_back(spawn(core_.loop, "discard disk", discard_now(disk)));
    return discards_.back();
}

Task<void> Storage::discard_now(Ref<Vdi> disk) {
    const auto held = hold(disk);
    const std::string id = core_.new_uuid();
    std::string failure;
    try {
        // That nobody has use for it must be known before it is gone.
        co_await core_.db.durable(core_.db.published());
        if (core_.db.find(disk) == nullptr) co_return;
        const Ref<Sr> sr = core_.db.get(disk).SR;
        co_await home_agent(sr).vdi_destroy({id, core_.term, {}, {}}, {disk_ref(disk)});
        core_.db.transact_fact([&](db::Txn& txn) {
            if (txn.find(disk) != nullptr) erase_disk(txn, disk);
        });
        refresh_sizes(sr);
    } catch (const ApiError& error) {
        failure = error.what();
    }
    core_.hosts->landed({id});
    if (!failure.empty())
        log::warn("disk_not_discarded", {{"vdi", disk.text()}, {"error", failure}});
}

Task<void> Storage::stop() {
    co_await end_all(std::exchange(discards_, {}));
    std::vector<std::shared_ptr<Job>> jobs;
    for (const auto& [sr, sizing] : sizings_)
        jobs.push_back(sizing.job);
    co_await end_all(std::move(jobs));
}

Task<void> Storage::sweep(Ref<Host> host, agent::Host& agent, NextOperation next) {
    std::vector<Ref<Vdi>> found;
    core_.db.each<Vdi>([&](Ref<Vdi> disk, const Vdi& row) {
        if (row.provisional && !is_held(disk) && row.current_operations.empty())
            found.push_back(disk);
    });
    for (const Ref<Vdi> disk : found) {
        const Vdi* row = core_.db.find(disk);
        if (row == nullptr || !is_plugged(core_.db, row->SR, host)) continue;
        log::warn("disk_of_nobody", {{"vdi", row->uuid}, {"name", row->name_label}});
        const auto held = hold(disk);
        std::string failure;
        try {
            co_await agent.vdi_destroy(next(), {disk_ref(disk)});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (!failure.empty()) {
            log::error("disk_not_swept", {{"vdi", disk.text()}, {"error", failure}});
            continue;
        }
        core_.db.transact_fact([&](db::Txn& txn) {
            if (txn.find(disk) == nullptr) return;
            for (const Ref<Vm> vm : half_imported(txn, disk))
                erase_imported(txn, vm);
            erase_disk(txn, disk);
        });
    }
}

Task<Ref<Vdi>> Storage::clone_disk(Call& call, Ref<Vdi> disk, Drafts* drafts) {
    return duplicate(call, {disk, call.db().get(disk).SR, Copy::clone, {}, drafts});
}

Task<Ref<Vdi>> Storage::copy_disk(Call& call, Ref<Vdi> disk, Ref<Sr> sr, Ref<Vdi> base,
                                  Drafts* drafts) {
    return duplicate(call, {disk, sr, Copy::copy, base, drafts});
}

Task<Ref<Vdi>> Storage::copy_over(Call& call, Overwrite what) {
    core::Operation operation(call);
    const Ref<Sr> sr = call.db().transact([&](db::Txn& txn) {
        require(txn, what.disk, VdiOperations::copy);
        if (what.base) require(txn, what.base, VdiOperations::copy);
        require_overwritable(txn, what.into, txn.get(what.disk).virtual_size);
        operation.mark(txn, what.disk, VdiOperations::copy);
        if (what.base) operation.mark(txn, what.base, VdiOperations::copy);
        operation.mark(txn, what.into, VdiOperations::update);
        return txn.get(what.into).SR;
    });
    co_await call.committed();
    agent::VdiCopyArgs args{.disk = disk_ref(what.disk), .sr = call.db().get(sr).uuid};
    args.base = disk_ref_if(what.base);
    args.into = disk_ref(what.into);
    const agent::VdiInfo info = co_await home_agent(call.db().get(what.disk).SR)
                                    .vdi_copy(call.operation(), std::move(args));
    call.db().transact_fact([&](db::Txn& txn) {
        operation.unmark(txn);
        apply(txn.edit(what.into), info);
    });
    refresh_sizes(sr);
    co_return what.into;
}

Task<Ref<Vdi>> Storage::snapshot_disk(Call& call, Ref<Vdi> disk, Drafts* drafts) {
    return duplicate(call, {disk, call.db().get(disk).SR, Copy::snapshot, {}, drafts});
}

Task<agent::VdiInfo> Storage::duplicate_files(Call& call, Duplicate what, agent::VdiSpec spec) {
    const auto& [disk, sr, how, base, drafts] = what;
    (void)drafts;
    switch (how) {
        case Copy::clone:
            co_return co_await home_agent(sr).vdi_clone(call.operation(),
                                                        {disk_ref(disk), std::move(spec)});
        case Copy::snapshot:
            co_return co_await home_agent(sr).vdi_snapshot(
                call.operation(), {disk_ref(disk), std::move(spec), live_in(disk)});
        case Copy::copy:
            break;
    }
    co_return co_await home_agent(call.db().get(disk).SR)
        .vdi_copy(call.operation(), {.disk = disk_ref(disk),
                                     .sr = call.db().get(sr).uuid,
                                     .spec = std::move(spec),
                                     .base = disk_ref_if(base),
                                     .into = {}});
}

Task<Ref<Vdi>> Storage::duplicate(Call& call, Duplicate what) {
    const auto& [disk, sr, how, base, drafts] = what;
    core::Operation operation(call);
    call.db().require_space();
    Vdi row = call.db().transact([&](db::Txn& txn) {
        constexpr VdiOperations operations[] = {VdiOperations::clone, VdiOperations::copy,
                                                VdiOperations::snapshot};
        const VdiOperations op = operations[static_cast<int>(how)];
        require(txn, disk, op);
        if (how == Copy::copy) require(txn, sr, StorageOperations::vdi_create);
        operation.mark(txn, disk, op);
        if (base) {
            require(txn, base, op);
            operation.mark(txn, base, op);
        }
        return txn.get(disk);
    });
    row.uuid = core_.new_uuid();
    row.SR = sr;
    row.allowed_operations.clear();
    row.current_operations.clear();
    row.is_a_snapshot = how == Copy::snapshot;
    row.snapshot_of = how == Copy::snapshot ? disk : Ref<Vdi>{};
    row.snapshot_time = how == Copy::snapshot ? DateTime{core_.now_seconds()} : DateTime{};
    row.cbt_enabled = how == Copy::snapshot && row.cbt_enabled;
    row.sm_config.erase("vhd-parent");
    if (how != Copy::snapshot) row.read_only = false;
    row.provisional = drafts != nullptr;
    const auto hidden = hide(row.uuid);
    co_await call.committed();
    const agent::VdiInfo info = co_await duplicate_files(call, what, spec_of(row));
    apply(row, info);
    const Ref<Vdi> made = call.db().transact_fact([&](db::Txn& txn) {
        operation.unmark(txn);
        return txn.insert(std::move(row));
    });
    if (drafts != nullptr) drafts->add(made);
    refresh_sizes(sr);
    co_return made;
}

Task<void> Storage::resize_disk(Call& call, Ref<Vdi> disk, std::int64_t size, bool online) {
    core::Operation operation(call);
    const VdiOperations op = online ? VdiOperations::resize_online : VdiOperations::resize;
    const Ref<Sr> sr = call.db().transact([&](db::Txn& txn) {
        require(txn, disk, op);
        if (size < txn.get(disk).virtual_size)
            throw err::invalid_value("size", std::to_string(size) + ": a disk cannot shrink");
        operation.mark(txn, disk, op);
        return txn.get(disk).SR;
    });
    co_await call.committed();
    const agent::VdiInfo info =
        co_await home_agent(sr).vdi_resize(call.operation(), {disk_ref(disk), size, live_in(disk)});
    call.db().transact_fact([&](db::Txn& txn) {
        apply(txn.edit(disk), info);
        operation.unmark(txn);
    });
    refresh_sizes(sr);
}

Task<agent::SrInfo> Storage::with_virtual_bytes(Ref<Sr> sr, agent::SrInfo info) {
    const core::Contender who{"", "sizes of " + sr.text()};
    info.virtual_bytes = 0;
    if (core_.db.find(sr) == nullptr) co_return info;
    const std::vector<Ref<Vdi>> disks = core_.db.get(sr).VDIs;
    for (std::size_t i = 0; i < disks.size(); ++i) {
        if (i % added_up_at_once == added_up_at_once - 1) co_await core_.turns.next(who);
        const Vdi* disk = core_.db.find(disks[i]);
        if (disk != nullptr && !disk->missing) info.virtual_bytes += disk->virtual_size;
    }
    co_return info;
}

Task<void> Storage::revert_disk(Call& call, Ref<Vdi> snapshot) {
    core::Operation operation(call);
    Ref<Vdi> disk;
    const Ref<Sr> sr = call.db().transact([&](db::Txn& txn) {
        const Vdi& row = txn.get(snapshot);
        if (!row.is_a_snapshot) throw err::operation_not_allowed("The disk is no snapshot");
        disk = row.snapshot_of;
        if (txn.find(disk) == nullptr)
            throw err::operation_not_allowed("The disk of which it is a snapshot is gone");
        if (txn.get(disk).SR != row.SR)
            throw err::operation_not_allowed("The disk and its snapshot are in two repositories");
        require(txn, snapshot, VdiOperations::revert_to);
        require(txn, disk, VdiOperations::revert_from);
        operation.mark(txn, snapshot, VdiOperations::revert_to);
        operation.mark(txn, disk, VdiOperations::revert_from);
        return row.SR;
    });
    co_await call.committed();
    const agent::VdiInfo info =
        co_await home_agent(sr).vdi_revert(call.operation(), {disk_ref(disk), disk_ref(snapshot)});
    call.db().transact_fact([&](db::Txn& txn) {
        apply(txn.edit(disk), info);
        operation.unmark(txn);
        call.succeed(txn);
    });
    refresh_sizes(sr);
}

void Storage::land_sizes(db::Txn& txn, Ref<Sr> sr, const agent::SrInfo& info) {
    if (txn.find(sr) == nullptr) return;
    Sr& row = txn.edit(sr);
    row.physical_size = info.size_bytes;
    row.physical_utilisation = info.used_bytes;
    row.virtual_allocation = info.virtual_bytes;
}

// An answer that is older than the row says nothing of it.
void Storage::land_known(db::Txn& txn, Ref<Vdi> disk, const agent::VdiInfo& info,
                         db::Generation asked_at) {
    if (core_.db.get(xenapi::class_of<Vdi>(), disk.uuid())->modified > asked_at) return;
    Vdi& row = txn.edit(disk);
    apply(row, info);
    row.missing = false;
}

// What the driver no longer sees: a disk that a VM names stays, as missing, so that nothing
// dangles.
void Storage::land_lost(db::Txn& txn, Ref<Vdi> disk, db::Generation asked_at) {
    if (core_.db.get(xenapi::class_of<Vdi>(), disk.uuid())->created > asked_at) return;
    const Vdi& row = txn.get(disk);
    if (!row.current_operations.empty() || is_held(disk)) return;
    if (row.VBDs.empty() && !row.is_a_snapshot) {
        txn.erase(disk);
    } else {
        txn.edit(disk).missing = true;
    }
}

bool Storage::is_new(const std::string& uuid, db::Generation asked_at) const {
    if (hidden_.contains(uuid)) return false;
    bool gone = false;
    core_.db.each_deleted(asked_at, [&](const db::Tombstone& stone) {
        if (stone.cls == &xenapi::class_of<Vdi>() && stone.last)
            gone = gone || stone.last->as<Vdi>().uuid == uuid;
    });
    return !gone;
}

void Storage::land_disk(db::Txn& txn, Ref<Sr> sr, const agent::VdiInfo& info,
                        db::Generation asked_at) {
    if (const db::RowPtr known = core_.db.by_uuid(xenapi::class_of<Vdi>(), info.uuid)) {
        if (known->as<Vdi>().SR == sr)
            land_known(txn, Ref<Vdi>{known->ref}, info, asked_at);
        else
            log::warn("disk_of_another_sr", {{"vdi", info.uuid}, {"sr", sr.text()}});
        return;
    }
    if (!is_new(info.uuid, asked_at)) return;
    Vdi row;
    row.uuid = info.uuid;
    row.SR = sr;
    row.name_label = info.name;
    row.name_description = info.description;
    row.managed = true;
    row.read_only = info.read_only;
    // A database that somebody has left there, perhaps for us (database_copies.cpp).
    row.type =
        info.sm_config.contains(std::string(database_mark)) ? VdiType::metadata : VdiType::user;
    apply(row, info);
    txn.insert(std::move(row));
}

Task<void> Storage::land_contents(Ref<Sr> sr, const agent::SrContents& contents,
                                  db::Generation asked_at) {
    const core::Contender who{"", "contents of " + sr.text()};
    std::unordered_set<std::string_view> there;
    for (std::span<const agent::VdiInfo> left(contents.vdis); !left.empty();) {
        co_await core_.turns.next(who);
        if (core_.db.find(sr) == nullptr) co_return;
        const auto some = left.first(std::min(left.size(), landed_at_once));
        left = left.subspan(some.size());
        core_.db.transact_fact([&](db::Txn& txn) {
            for (const agent::VdiInfo& info : some)
                if (!info.hidden && there.insert(info.uuid).second)
                    land_disk(txn, sr, info, asked_at);
        });
    }
    if (core_.db.find(sr) == nullptr) co_return;
    const std::vector<Ref<Vdi>> disks = core_.db.get(sr).VDIs;
    for (std::span<const Ref<Vdi>> left(disks); !left.empty();) {
        co_await core_.turns.next(who);
        const auto some = left.first(std::min(left.size(), landed_at_once));
        left = left.subspan(some.size());
        core_.db.transact_fact([&](db::Txn& txn) {
            for (const Ref<Vdi> disk : some)
                if (const Vdi* row = txn.find(disk); row != nullptr && !there.contains(row->uuid))
                    land_lost(txn, disk, asked_at);
        });
    }
}

Task<void> Storage::scan(Call& call, Ref<Sr> sr) {
    core::Operation operation(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, sr, StorageOperations::scan);
        operation.mark(txn, sr, StorageOperations::scan);
    });
    const db::Generation asked_at = core_.db.published();
    const agent::SrContents contents = co_await home_agent(sr).sr_scan({call.db().get(sr).uuid});
    co_await land_contents(sr, contents, asked_at);
    const agent::SrInfo info = co_await with_virtual_bytes(sr, contents.sr);
    call.db().transact([&](db::Txn& txn) {
        land_sizes(txn, sr, info);
        operation.unmark(txn);
    });
}

void Storage::refresh_sizes(Ref<Sr> sr) {
    std::erase_if(sizings_, [](const auto& one) { return one.second.job->finished(); });
    if (const auto known = sizings_.find(sr); known != sizings_.end()) {
        known->second.changed = true;
        return;
    }
    Sizing& sizing = sizings_[sr];
    sizing.job = spawn(core_.loop, "sizes of SR", keep_sizes(sr));
}

Task<void> Storage::keep_sizes(Ref<Sr> sr) {
    while (std::exchange(sizings_.at(sr).changed, false)) {
        co_await read_sizes(sr);
        co_await sleep_for(core_.loop, sizes_interval);
    }
    sizings_.erase(sr);  // the job is over some turns from now
}

Task<void> Storage::read_sizes(Ref<Sr> sr) {
    std::string failure;
    try {
        agent::SrInfo info = co_await home_agent(sr).sr_stat({core_.db.get(sr).uuid});
        info = co_await with_virtual_bytes(sr, std::move(info));
        core_.db.transact([&](db::Txn& txn) { land_sizes(txn, sr, info); });
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty()) log::warn("sr_sizes_unknown", {{"sr", sr.text()}, {"error", failure}});
}

}  // namespace basalt::domain
