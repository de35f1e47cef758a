#include "storage-manager/manager/manager.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

namespace {

using Ref = agent::DiskRef;

constexpr std::int64_t size_unit_bytes = 1024 * 1024;

// What the driver calls it; xapi may know only the uuid.
const std::string& location(const Ref& disk) {
    return disk.location.empty() ? disk.vdi : disk.location;
}

std::string key(const Ref& disk) {
    return disk.sr + "/" + location(disk);
}

Ref ref_of(const std::string& sr, const agent::VdiInfo& info) {
    return {sr, info.uuid, info.location};
}

Snapshots& snapshots_of(Driver& driver, const std::string& sr) {
    if (driver.snapshots() == nullptr) throw err::sr_operation_not_supported(sr);
    return *driver.snapshots();
}

Resizer& resizer_of(Driver& driver, const std::string& sr) {
    if (driver.resizer() == nullptr) throw err::sr_operation_not_supported(sr);
    return *driver.resizer();
}

// The same call again, after a restart of hostd: what it made is there already.
Task<std::optional<agent::VdiInfo>> made_before(std::shared_ptr<Driver> driver, std::string uuid) {
    if (uuid.empty()) co_return std::nullopt;
    try {
        co_return co_await driver->stat(uuid);
    } catch (const ApiError&) {
        co_return std::nullopt;
    }
}

Task<void> keep(Task<agent::VdiInfo> body, agent::VdiInfo& out) {
    out = co_await std::move(body);
}

}  // namespace

Manager::Manager(Loop& loop, Parts parts)
    : loop_(loop), parts_(std::move(parts)), queue_(loop), claims_(loop) {}

Manager::~Manager() = default;

// -- repositories ---------------------------------------------------------------------------------

Task<std::vector<agent::SmFacts>> Manager::storage_drivers() {
    return parts_.drivers->facts();
}

Task<std::string> Manager::sr_probe(agent::SrProbeArgs args) {
    return parts_.drivers->probe(args.type, args.device_config);
}

Task<void> Manager::sr_create(agent::SrCreateArgs args) {
    const auto lease = co_await queue_.acquire("sr " + args.uuid);
    const Drivers::Sr what{args.uuid, args.type, args.device_config};
    co_await parts_.drivers->create(what);
    Sr& sr = srs_[args.uuid];
    if (sr.ready) co_return;  // the same call again
    sr.what = what;
    co_await save();
}

Task<void> Manager::sr_destroy(agent::SrDestroyArgs args) {
    const auto lease = co_await queue_.acquire("sr " + args.uuid);
    const auto found = srs_.find(args.uuid);
    if (found == srs_.end()) throw err::sr_not_attached(args.uuid);
    require_unused(args.uuid);
    const auto old = found->second.driver;
    if (old && found->second.ready) co_await old->detach();
    co_await parts_.drivers->destroy(srs_.at(args.uuid).what);
    srs_.erase(args.uuid);
    co_await save();
}

Task<agent::SrInfo> Manager::sr_attach(agent::SrAttachArgs args) {
    const auto lease = co_await queue_.acquire("sr " + args.uuid);
    Sr& sr = srs_[args.uuid];
    const bool other = sr.what.type != args.type || sr.what.config != args.device_config;
    if (other && sr.ready) {
        require_unused(args.uuid);
        const auto old = sr.driver;
        co_await old->detach();
        srs_[args.uuid].ready = false;
    }
    if (other) {
        srs_[args.uuid].what = {args.uuid, args.type, args.device_config};
        srs_[args.uuid].driver.reset();
    }
    const agent::SrInfo info = co_await attach(args.uuid);
    srs_[args.uuid].wanted = true;
    co_await save();
    co_return info;
}

Task<void> Manager::sr_detach(agent::SrDetachArgs args) {
    const auto lease = co_await queue_.acquire("sr " + args.uuid);
    const auto found = srs_.find(args.uuid);
    if (found == srs_.end()) co_return;
    require_unused(args.uuid);
    const auto old = found->second.driver;
    if (old && found->second.ready) co_await old->detach();
    Sr& sr = srs_[args.uuid];
    sr.wanted = false;
    sr.ready = false;
    sr.driver.reset();
    co_await save();
}

// A driver that is attached tells its sizes when it is asked to attach again.
Task<agent::SrInfo> Manager::sr_stat(agent::SrStatArgs args) {
    const auto sr = co_await driver(args.uuid);
    agent::SrInfo info = co_await sr->attach();
    info.virtual_bytes = 0;
    co_return info;
}

Task<agent::SrContents> Manager::sr_scan(agent::SrScanArgs args) {
    const auto sr = co_await driver(args.uuid);
    co_return co_await sr->scan();
}

// -- disks ----------------------------------------------------------------------------------------

Task<agent::VdiInfo> Manager::vdi_create(agent::VdiCreateArgs args) {
    const auto sr = co_await driver(args.sr);
    co_return co_await sr->create(std::move(args.spec));
}

Task<void> Manager::vdi_destroy(agent::VdiDestroyArgs args) {
    const auto lease = co_await queue_.acquire("disk " + key(args.disk));
    const auto sr = co_await driver(args.disk.sr);
    const Claims::Id claim = co_await claims_.take(
        {key(args.disk), args.disk.vdi, agent::Access::rw, Claims::Kind::transfer, "destroy"});
    std::exception_ptr failure;
    try {
        co_await sr->close(location(args.disk));  // a transfer's own close may still be under way
        co_await sr->destroy(location(args.disk));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    claims_.release(claim);
    if (failure) std::rethrow_exception(failure);
}

Task<agent::VdiInfo> Manager::vdi_snapshot(agent::VdiSnapshotArgs args) {
    // From the first step on it is finished or taken back, whatever the caller wants meanwhile.
    agent::VdiInfo info;
    co_await shielded(keep(snapshot(std::move(args)), info));
    co_return info;
}

Task<agent::VdiInfo> Manager::snapshot(agent::VdiSnapshotArgs args) {
    const auto lease = co_await queue_.acquire("disk " + key(args.disk));
    const auto sr = co_await driver(args.disk.sr);
    if (auto made = co_await made_before(sr, args.spec.uuid)) co_return *std::move(made);
    Snapshots& snapshots = snapshots_of(*sr, args.disk.sr);
    const auto plug = writer(args.disk);
    Claims::Id claim = 0;
    if (!plug)
        claim = co_await claims_.take(
            {key(args.disk), args.disk.vdi, agent::Access::ro, Claims::Kind::transfer, "snapshot"});
    std::exception_ptr failure;
    agent::VdiInfo info;
    try {
        const Snapshots::Prepared prepared =
            co_await snapshots.snapshot_prepare(location(args.disk), args.spec);
        if (plug) co_await switch_live(*plug, sr, prepared);
        info = co_await snapshots.snapshot_commit(prepared.token);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (!plug) claims_.release(claim);
    if (failure) std::rethrow_exception(failure);
    co_return info;
}

// Only a clear refusal may be taken back. When the answer is lost the new leaf stays: it is empty,
// so the disk reads the same whether its writer has switched or not.
Task<void> Manager::switch_live(Plug plug, std::shared_ptr<Driver> driver,
                                Snapshots::Prepared prepared) {
    const auto refusal =
        co_await parts_.datapath->switch_leaf(plug.first, plug.second, prepared.leaf);
    if (!refusal) co_return;
    co_await driver->snapshots()->snapshot_abort(prepared.token);
    throw *refusal;
}

Task<agent::VdiInfo> Manager::vdi_clone(agent::VdiCloneArgs args) {
    const auto lease = co_await queue_.acquire("disk " + key(args.disk));
    const auto sr = co_await driver(args.disk.sr);
    if (auto made = co_await made_before(sr, args.spec.uuid)) co_return *std::move(made);
    Snapshots& snapshots = snapshots_of(*sr, args.disk.sr);
    const Claims::Id claim = co_await claims_.take(
        {key(args.disk), args.disk.vdi, agent::Access::ro, Claims::Kind::transfer, "clone"});
    std::exception_ptr failure;
    agent::VdiInfo info;
    try {
        if (claims_.sole(key(args.disk))) co_await sr->close(location(args.disk));
        info = co_await snapshots.clone(location(args.disk), std::move(args.spec));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    claims_.release(claim);
    if (failure) std::rethrow_exception(failure);
    co_return info;
}

Task<agent::VdiInfo> Manager::vdi_revert(agent::VdiRevertArgs args) {
    const auto lease = co_await queue_.acquire("disk " + key(args.disk));
    const auto sr = co_await driver(args.disk.sr);
    Snapshots& snapshots = snapshots_of(*sr, args.disk.sr);
    const Claims::Id disk = co_await claims_.take(
        {key(args.disk), args.disk.vdi, agent::Access::rw, Claims::Kind::transfer, "revert"});
    std::optional<Claims::Id> source;
    std::exception_ptr failure;
    agent::VdiInfo info;
    try {
        source = co_await claims_.take({key(args.snapshot), args.snapshot.vdi, agent::Access::ro,
                                        Claims::Kind::transfer, "revert"});
        // A transfer's own close may still be under way.
        co_await sr->close(location(args.disk));
        if (claims_.sole(key(args.snapshot))) co_await sr->close(location(args.snapshot));
        info = co_await snapshots.revert(location(args.disk), location(args.snapshot));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (source) claims_.release(*source);
    claims_.release(disk);
    if (failure) std::rethrow_exception(failure);
    co_return info;
}

Task<agent::VdiInfo> Manager::vdi_copy(agent::VdiCopyArgs args, rpc::Progress progress) {
    if (args.into) co_return co_await copy_over(std::move(args), std::move(progress));
    const auto from = co_await driver(args.disk.sr);
    const auto to = co_await driver(args.sr);
    const agent::VdiInfo source = co_await from->stat(location(args.disk));
    args.spec.size_bytes = std::max(args.spec.size_bytes, source.size_bytes);
    agent::VdiInfo made;
    co_await with_undo([this, &args, &made, to, progress](Undo& undo) {
        return [](Manager& self, agent::VdiCopyArgs& what, agent::VdiInfo& out,
                  std::shared_ptr<Driver> target, rpc::Progress report, Undo& back) -> Task<void> {
            out = co_await target->create(what.spec);
            back.push("destroy the copy",
                      [target, place = out.location] { return target->destroy(place); });
            co_await self.copy_into(what, ref_of(what.sr, out), true, std::move(report));
            out = co_await target->stat(out.location);
        }(*this, args, made, to, progress, undo);
    });
    co_return made;
}

namespace {

// What a disk in a format without a map holds cannot be told from what it does not.
std::exception_ptr sparse_problem(const Attachment& disk, const Ref& which) {
    if (disk.chain.front().format != "raw") return {};
    return std::make_exception_ptr(err::vdi_not_sparse(which.vdi));
}

void require_sparse(const Attachment& disk, const Ref& which) {
    if (const auto problem = sparse_problem(disk, which)) std::rethrow_exception(problem);
}

}  // namespace

Task<agent::VdiInfo> Manager::copy_over(agent::VdiCopyArgs args, rpc::Progress progress) {
    const Ref target = *args.into;
    const auto from = co_await driver(args.disk.sr);
    const auto to = co_await driver(target.sr);
    const agent::VdiInfo source = co_await from->stat(location(args.disk));
    const agent::VdiInfo before = co_await to->stat(location(target));
    if (before.size_bytes < source.size_bytes)
        throw err::vdi_too_small(target.vdi, source.size_bytes);
    co_await copy_into(std::move(args), target, false, std::move(progress));
    co_return co_await to->stat(location(target));
}

Task<void> Manager::copy_into(agent::VdiCopyArgs args, Ref target, bool to_empty,
                              rpc::Progress progress) {
    std::exception_ptr failure;
    std::vector<Opened> opened;
    try {
        opened.push_back(co_await open(args.disk, agent::Access::ro, "copy"));
        opened.push_back(co_await open(target, agent::Access::rw, "copy"));
        Transfer::Copy what{opened[0].attachment, opened[1].attachment, std::nullopt, to_empty};
        if (args.base) {
            opened.push_back(co_await open(*args.base, agent::Access::ro, "copy"));
            what.base = opened[2].attachment;
            require_sparse(opened[0].attachment, args.disk);
            require_sparse(opened[2].attachment, *args.base);
        }
        co_await parts_.transfer->copy(std::move(what), std::move(progress));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    // A cancel that came too late to stop the copy must not stop this either.
    co_await asio::this_coro::reset_cancellation_state();
    for (; !opened.empty(); opened.pop_back())
        co_await shielded(close(opened.back()));
    if (failure) std::rethrow_exception(failure);
}

Task<agent::VdiInfo> Manager::vdi_resize(agent::VdiResizeArgs args) {
    const auto lease = co_await queue_.acquire("disk " + key(args.disk));
    const auto sr = co_await driver(args.disk.sr);
    Resizer& resizer = resizer_of(*sr, args.disk.sr);
    const auto plug = writer(args.disk);
    if (plug) {
        const std::int64_t size =
            (args.size_bytes + size_unit_bytes - 1) / size_unit_bytes * size_unit_bytes;
        const agent::VdiInfo now = co_await sr->stat(location(args.disk));
        if (size < now.size_bytes) throw backend_failure(Failure::vdi_size, "a disk cannot shrink");
        co_await parts_.datapath->resize(plug->first, plug->second, size);
        co_return co_await sr->stat(location(args.disk));
    }
    const Claims::Id claim = co_await claims_.take(
        {key(args.disk), args.disk.vdi, agent::Access::rw, Claims::Kind::transfer, "resize"});
    std::exception_ptr failure;
    agent::VdiInfo info;
    try {
        co_await sr->close(location(args.disk));
        info = co_await resizer.resize(location(args.disk), args.size_bytes);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    claims_.release(claim);
    if (failure) std::rethrow_exception(failure);
    co_return info;
}

// -- transfers ------------------------------------------------------------------------------------

Task<UniqueFd> Manager::vdi_open(agent::VdiOpenArgs args) {
    const Opened opened = co_await open(args.disk, args.access, "open");
    co_return co_await parts_.transfer->serve(opened.attachment, closer(opened));
}

Task<UniqueFd> Manager::vdi_export(agent::VdiExportArgs args) {
    const auto sr = co_await driver(args.disk.sr);
    const agent::VdiInfo info = co_await sr->stat(location(args.disk));
    const Opened opened = co_await open(args.disk, agent::Access::ro, "export");
    Transfer::Sent what{.disk = {opened.attachment, args.disk.vdi, info.size_bytes},
                        .format = args.format};
    Transfer::Ended ended = closer(opened);
    if (!args.base) co_return co_await parts_.transfer->send(std::move(what), std::move(ended));
    std::exception_ptr failure;
    Opened base;
    try {
        base = co_await open(*args.base, agent::Access::ro, "export");
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        ended();
        std::rethrow_exception(failure);
    }
    what.base = Transfer::Disk{base.attachment, args.base->vdi, 0};
    const Transfer::Ended both = [one = std::move(ended), other = closer(base)] {
        one();
        other();
    };
    failure = sparse_problem(opened.attachment, args.disk);
    if (!failure) failure = sparse_problem(base.attachment, *args.base);
    if (failure) {
        both();
        std::rethrow_exception(failure);
    }
    co_return co_await parts_.transfer->send(std::move(what), both);
}

Task<std::string> Manager::vdi_changes(agent::VdiChangesArgs args) {
    std::exception_ptr failure;
    std::vector<Opened> opened;
    std::string bits;
    try {
        opened.push_back(co_await open(args.disk, agent::Access::ro, "list_changed_blocks"));
        opened.push_back(co_await open(args.base, agent::Access::ro, "list_changed_blocks"));
        require_sparse(opened[0].attachment, args.disk);
        require_sparse(opened[1].attachment, args.base);
        bits = co_await parts_.transfer->changes(
            opened[0].attachment, opened[1].attachment,
            {static_cast<std::uint64_t>(args.offset), static_cast<std::uint64_t>(args.length)});
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    co_await asio::this_coro::throw_if_cancelled(false);
    for (; !opened.empty(); opened.pop_back())
        co_await shielded(close(opened.back()));
    co_await asio::this_coro::throw_if_cancelled(true);
    if (failure) std::rethrow_exception(failure);
    co_return bits;
}

Task<UniqueFd> Manager::vdi_import(agent::VdiImportArgs args) {
    const auto sr = co_await driver(args.disk.sr);
    const agent::VdiInfo info = co_await sr->stat(location(args.disk));
    const Opened opened = co_await open(args.disk, agent::Access::rw, "import");
    Transfer::Disk disk{opened.attachment, args.disk.vdi, info.size_bytes};
    co_return co_await parts_.transfer->receive(std::move(disk), args.format, closer(opened));
}

Task<Manager::Opened> Manager::open(Ref disk, agent::Access access, std::string what) {
    const auto lease = co_await queue_.acquire("disk " + key(disk));
    const auto sr = co_await driver(disk.sr);
    Opened opened;
    opened.disk = disk;
    opened.claim = co_await claims_.take(
        {key(disk), disk.vdi, access, Claims::Kind::transfer, std::move(what)});
    std::exception_ptr failure;
    try {
        opened.attachment = co_await sr->open(location(disk), access);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (!failure) co_return opened;
    claims_.release(opened.claim);
    std::rethrow_exception(failure);
}

Task<void> Manager::close(Opened opened) {
    claims_.release(opened.claim);
    co_await driver_close(opened.disk);
}

// The driver knows a disk as open until its last user has gone; whoever opens it meanwhile waits
// for the same lease.
Task<void> Manager::driver_close(Ref disk) {
    const auto lease = co_await queue_.acquire("disk " + key(disk));
    const auto found = srs_.find(disk.sr);
    if (claims_.used(key(disk)) || found == srs_.end() || !found->second.driver) co_return;
    const auto sr = found->second.driver;
    try {
        co_await sr->close(location(disk));
    } catch (const ApiError& error) {
        // Nothing is lost: a worker that starts anew opens only what is still in use.
        log::warn("disk_close_failed", {{"vdi", disk.vdi}, {"error", error.what()}});
    }
}

Transfer::Ended Manager::closer(const Opened& opened) {
    return [self = shared_from_this(), opened] {
        self->claims_.release(opened.claim);
        spawn(self->loop_, "close disk", close_later(self, opened.disk));
    };
}

Task<void> Manager::close_later(std::shared_ptr<Manager> self, Ref disk) {
    co_await self->driver_close(disk);
}

}  // namespace basalt::sm
