#include "storage-manager/drivers/file/file_driver.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <system_error>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "base/uuid.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

namespace {

constexpr std::int64_t size_unit_bytes = 1024 * 1024;
constexpr std::int64_t size_bytes_max = std::int64_t{16} << 40;
constexpr Duration quick = 60s;
constexpr Duration merge_limit = 12h;

std::int64_t rounded_size(const std::string& vdi, std::int64_t size_bytes) {
    if (size_bytes <= 0) throw backend_failure(Failure::vdi_size, std::to_string(size_bytes));
    if (size_bytes > size_bytes_max) throw err::vdi_too_large(vdi, std::to_string(size_bytes_max));
    return (size_bytes + size_unit_bytes - 1) / size_unit_bytes * size_unit_bytes;
}

agent::VdiInfo describe(const file::Images& images, const file::Disk& disk) {
    const auto& image = images.at(disk.image);
    agent::VdiInfo info;
    info.uuid = disk.uuid;
    info.location = disk.uuid;
    info.size_bytes = image.virtual_bytes;
    info.used_bytes = image.used_bytes;
    info.name = disk.name;
    info.description = disk.description;
    info.sm_config = disk.sm_config;
    info.sm_config["image-format"] = "qcow2";
    if (const auto parent = images.find(image.backing); parent != images.end()) {
        info.parent = parent->second.uuid;
        info.sm_config["vhd-parent"] = info.parent;
    }
    return info;
}

agent::VdiInfo describe_inner(const file::Images& images, const file::ImageFile& image) {
    file::Disk disk;
    disk.uuid = image.uuid;
    disk.image = image.file;
    disk.name = "base copy";
    agent::VdiInfo info = describe(images, disk);
    info.hidden = true;
    info.read_only = true;
    return info;
}

// g++ 14 fails on some lists of strings inside a coroutine, hence functions of their own.
std::vector<std::string> create_args(const std::string& backing, const std::string& path,
                                     std::int64_t size_bytes) {
    std::vector<std::string> args = {"create", "-q", "-f", "qcow2"};
    // -u: the size is known, so the backing file, which a guest may be writing, stays closed.
    if (!backing.empty()) args.insert(args.end(), {"-u", "-b", backing, "-F", "qcow2"});
    args.insert(args.end(), {path, std::to_string(size_bytes)});
    return args;
}

std::vector<std::string> resize_args(const std::string& path, std::int64_t size_bytes) {
    return {"resize", "-q", "-f", "qcow2", path, std::to_string(size_bytes)};
}

std::vector<std::string> rebase_args(const std::string& onto, const std::string& path) {
    return {"rebase", "-q", "-f", "qcow2", "-b", onto, "-F", "qcow2", path};
}

// Images of old may be readable for everybody; guests' users are somebody. A file system that keeps
// no modes keeps its own order.
void make_private(const Attachment& disk) {
    for (const Image& image : disk.chain)
        if (::chmod(image.path.c_str(), S_IRUSR | S_IWUSR) != 0)
            log::debug("image_mode_kept", {{"image", image.path}});
}

// The folder's answer to a system call becomes an API error here, once.
template <class F>
Task<std::invoke_result_t<F&>> on_disk(Loop& loop, Failure failure, F work) {
    using R = std::invoke_result_t<F&>;
    auto guarded = [failure, work = std::move(work)]() mutable -> R {
        try {
            return work();
        } catch (const std::system_error& error) {
            if (error.code() == std::errc::no_space_on_device)
                throw backend_failure(Failure::no_space, error.what());
            throw backend_failure(failure, error.what());
        }
    };
    return blocking(loop, std::move(guarded));
}

UniqueFd lock_folder(const std::filesystem::path& folder) {
    UniqueFd fd(
        ::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw backend_failure(Failure::sr_unavailable, folder.string());
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return UniqueFd();
    return fd;
}

}  // namespace

FolderSr::FolderSr(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder)
    : loop_(loop), sr_uuid_(std::move(sr_uuid)), layout_(std::move(folder)), queue_(loop) {}

void FolderSr::stop() {
    if (merging_) merging_->cancel();
    lock_.reset();
}

Task<agent::SrInfo> FolderSr::attach() {
    const auto lease = co_await queue_.acquire("sr");
    const auto is_folder = [folder = layout_.folder()] {
        std::error_code ignored;
        return std::filesystem::is_directory(folder, ignored);
    };
    const bool present = co_await blocking(loop_, is_folder);
    if (!present) throw backend_failure(Failure::sr_unavailable, layout_.folder().string());
    // A worker that was killed lets go of its lock when the kernel has ended it.
    for (int attempt = 0; !lock_ && attempt < 50; ++attempt) {
        lock_ =
            co_await blocking(loop_, [folder = layout_.folder()] { return lock_folder(folder); });
        if (!lock_) co_await sleep_for(loop_, 100ms);
    }
    if (!lock_) throw backend_failure(Failure::locked, layout_.folder().string());
    const auto space = co_await on_disk(loop_, Failure::sr_unavailable,
                                        [layout = layout_] { return layout.space(); });
    agent::SrInfo info;
    info.uuid = sr_uuid_;
    info.size_bytes = space.size_bytes;
    info.used_bytes = space.size_bytes - space.free_bytes;
    co_return info;
}

Task<void> FolderSr::detach() {
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    if (!open_.empty()) throw backend_failure(Failure::sr_in_use, "disks are open");
    lock_.reset();
}

Task<agent::SrContents> FolderSr::scan() {
    const auto lease = co_await queue_.acquire("sr");
    co_await adopt_unclaimed();
    co_await collect_garbage();
    const auto view = co_await look();
    const auto space = co_await on_disk(loop_, Failure::scan_failed,
                                        [layout = layout_] { return layout.space(); });
    agent::SrContents out;
    std::set<std::string> named;
    for (const auto& [uuid, disk] : view.disks) {
        if (file::chain_of(view.images, disk.image).empty()) {
            log::warn("disk_chain_broken", {{"sr", sr_uuid_}, {"vdi", uuid}});
            continue;
        }
        named.insert(disk.image);
        out.vdis.push_back(describe(view.images, disk));
        out.sr.virtual_bytes += out.vdis.back().size_bytes;
    }
    for (const auto& [name, image] : view.images)
        if (!named.contains(name) && !image.uuid.empty() && image.usable)
            out.vdis.push_back(describe_inner(view.images, image));
    out.sr.uuid = sr_uuid_;
    out.sr.size_bytes = space.size_bytes;
    out.sr.used_bytes = space.size_bytes - space.free_bytes;
    start_merging();
    co_return out;
}

Task<agent::VdiInfo> FolderSr::create(agent::VdiSpec spec) {
    if (spec.uuid.empty()) spec.uuid = loop_.new_uuid().text();
    checked_uuid(spec.uuid);
    const std::int64_t size = rounded_size(spec.uuid, spec.size_bytes);
    const auto lease = co_await queue_.acquire("sr");
    const auto view = co_await look();
    if (const auto known = view.disks.find(spec.uuid); known != view.disks.end()) {
        const agent::VdiInfo info = describe(view.images, known->second);
        if (info.size_bytes == size) co_return info;  // the same call again
        throw backend_failure(Failure::vdi_exists, spec.uuid);
    }
    const std::string image = co_await make_image("", size);
    co_return co_await add_disk(std::move(spec), image);
}

Task<void> FolderSr::destroy(Location vdi) {
    checked_uuid(vdi);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "destroy");
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    const auto view = co_await look();
    const bool inner =
        !view.disks.contains(vdi) && std::ranges::any_of(view.images, [&vdi](const auto& entry) {
            return entry.second.uuid == vdi;
        });
    if (inner) co_return;  // it goes with its last child
    co_await on_disk(loop_, Failure::vdi_remove_failed,
                     [layout = layout_, vdi] { layout.remove_disk(vdi); });
    co_await collect_garbage();
    start_merging();
}

Task<Attachment> FolderSr::open(Location vdi, agent::Access access) {
    checked_uuid(vdi);
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    const Found found = co_await find(vdi);
    Attachment out;
    out.read_only = access == agent::Access::ro;
    for (const std::string& image : found.chain)
        out.chain.push_back({layout_.path(image).string(), "qcow2"});
    co_await blocking(loop_, [out] { make_private(out); });
    open_[vdi] = access;
    co_return out;
}

Task<void> FolderSr::close(Location vdi) {
    open_.erase(vdi);
    co_return;
}

Task<Snapshots::Prepared> FolderSr::snapshot_prepare(Location vdi, agent::VdiSpec spec) {
    checked_uuid(vdi);
    if (spec.uuid.empty()) spec.uuid = loop_.new_uuid().text();
    checked_uuid(spec.uuid);
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    const Found found = co_await find(vdi);
    if (found.view.disks.contains(spec.uuid)) throw backend_failure(Failure::vdi_exists, spec.uuid);
    const std::string base = found.disk.image;
    const std::string leaf = co_await freeze(found);
    prepared_.insert(base);

    Snapshots::Prepared out;
    out.leaf = {layout_.path(leaf).string(), "qcow2"};
    out.snapshot = describe(found.view.images, found.disk);
    out.snapshot.uuid = out.snapshot.location = spec.uuid;
    out.snapshot.name = spec.name;
    out.snapshot.description = spec.description;
    out.token = Json{{"vdi", vdi}, {"base", base}, {"leaf", leaf}, {"spec", spec}}.dump();
    co_return out;
}

Task<agent::VdiInfo> FolderSr::snapshot_commit(std::string token) {
    const Json words = Json::parse(token);
    const auto base = words.at("base").get<std::string>();
    const auto spec = words.at("spec").get<agent::VdiSpec>();
    const auto lease = co_await queue_.acquire("sr");
    prepared_.erase(base);
    const auto view = co_await look();
    if (const auto done = view.disks.find(spec.uuid); done != view.disks.end())
        co_return describe(view.images, done->second);
    if (!view.images.contains(base))
        throw backend_failure(Failure::snapshot_failed, "the frozen image is gone");
    const std::string image = co_await make_image(base, view.images.at(base).virtual_bytes);
    co_return co_await add_disk(spec, image);
}

Task<void> FolderSr::snapshot_abort(std::string token) {
    const Json words = Json::parse(token);
    const auto base = words.at("base").get<std::string>();
    const auto leaf = words.at("leaf").get<std::string>();
    const auto lease = co_await queue_.acquire("sr");
    prepared_.erase(base);
    auto view = co_await look();
    const auto disk = view.disks.find(words.at("vdi").get<std::string>());
    if (disk == view.disks.end() || disk->second.image != leaf) co_return;
    disk->second.image = base;
    co_await put(disk->second);
    co_await collect_garbage();
}

Task<agent::VdiInfo> FolderSr::clone(Location vdi, agent::VdiSpec spec) {
    checked_uuid(vdi);
    if (spec.uuid.empty()) spec.uuid = loop_.new_uuid().text();
    checked_uuid(spec.uuid);
    if (const auto open = open_.find(vdi); open != open_.end() && open->second == agent::Access::rw)
        throw err::vdi_in_use(vdi, "clone");
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    const Found found = co_await find(vdi);
    if (const auto done = found.view.disks.find(spec.uuid); done != found.view.disks.end())
        co_return describe(found.view.images, done->second);
    const std::int64_t size = found.view.images.at(found.disk.image).virtual_bytes;
    const std::string base = co_await frozen_content(found);
    const std::string fresh = co_await make_image(base, size);
    co_return co_await add_disk(std::move(spec), fresh);
}

Task<agent::VdiInfo> FolderSr::revert(Location vdi, Location snapshot) {
    checked_uuid(vdi);
    checked_uuid(snapshot);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "revert");
    if (const auto open = open_.find(snapshot);
        open != open_.end() && open->second == agent::Access::rw)
        throw err::vdi_in_use(snapshot, "revert");
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    Found disk = co_await find(vdi);
    const Found source = co_await find(snapshot);
    const std::int64_t size = source.view.images.at(source.disk.image).virtual_bytes;
    const std::string base = co_await frozen_content(source);
    disk.disk.image = co_await make_image(base, size);
    co_await put(disk.disk);
    co_await collect_garbage();
    start_merging();
    co_return co_await info(vdi);
}

Task<agent::VdiInfo> FolderSr::resize(Location vdi, std::int64_t size_bytes) {
    checked_uuid(vdi);
    const std::int64_t size = rounded_size(vdi, size_bytes);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "resize");
    const auto lease = co_await queue_.acquire("sr");
    co_await stop_merging();
    const Found found = co_await find(vdi);
    const std::int64_t now = found.view.images.at(found.disk.image).virtual_bytes;
    if (size < now) throw backend_failure(Failure::vdi_size, "a disk cannot shrink");
    if (size > now) {
        auto args = resize_args(layout_.path(found.disk.image).string(), size);
        co_await qemu_img(std::move(args), quick, Failure::vdi_size);
        co_await on_disk(loop_, Failure::vdi_size, [layout = layout_, image = found.disk.image] {
            layout.make_durable(image);
        });
    }
    co_return co_await info(vdi);
}

Task<agent::VdiInfo> FolderSr::stat(Location vdi) {
    checked_uuid(vdi);
    const auto lease = co_await queue_.acquire("sr");
    co_return co_await info(vdi);
}

Task<void> FolderSr::settle() {
    while (merging_ && !merging_->finished())
        co_await merging_->wait();
}

// -- helpers ------------------------------------------------------------------------------------

Task<file::View> FolderSr::look() {
    return on_disk(loop_, Failure::scan_failed, [layout = layout_] { return layout.look(); });
}

Task<FolderSr::Found> FolderSr::find(std::string vdi) {
    Found out;
    out.view = co_await look();
    const auto disk = out.view.disks.find(vdi);
    if (disk == out.view.disks.end()) throw backend_failure(Failure::vdi_unavailable, vdi);
    out.disk = disk->second;
    out.chain = file::chain_of(out.view.images, out.disk.image);
    if (out.chain.empty())
        throw backend_failure(Failure::vdi_unavailable, "the image chain is broken");
    co_return out;
}

Task<agent::VdiInfo> FolderSr::info(std::string vdi) {
    const Found found = co_await find(std::move(vdi));
    co_return describe(found.view.images, found.disk);
}

Task<std::string> FolderSr::make_image(std::string backing, std::int64_t size_bytes) {
    const std::string image = file::Layout::image_name(loop_.new_uuid().text());
    auto args = create_args(backing, layout_.path(image).string(), size_bytes);
    co_await qemu_img(std::move(args), quick, Failure::vdi_create_failed);
    co_await on_disk(loop_, Failure::vdi_create_failed,
                     [layout = layout_, image] { layout.make_durable(image); });
    co_return image;
}

Task<agent::VdiInfo> FolderSr::add_disk(agent::VdiSpec spec, std::string image) {
    file::Disk disk;
    disk.uuid = spec.uuid;
    disk.image = std::move(image);
    disk.name = spec.name;
    disk.description = spec.description;
    disk.type = spec.type.empty() ? "user" : spec.type;
    disk.sm_config = spec.sm_config;
    co_await put(disk);
    co_return co_await info(spec.uuid);
}

// Puts an empty leaf over the disk's image, so that others can be based on it.
Task<std::string> FolderSr::freeze(Found found) {
    if (found.chain.size() >= file::chain_images_max)
        throw backend_failure(Failure::chain_too_long);
    const std::int64_t size = found.view.images.at(found.disk.image).virtual_bytes;
    const std::string leaf = co_await make_image(found.disk.image, size);
    found.disk.image = leaf;
    co_await put(found.disk);
    co_return leaf;
}

Task<std::string> FolderSr::frozen_content(Found found) {
    const file::ImageFile& image = found.view.images.at(found.disk.image);
    // A leaf that was never written stands for its parent: the chain need not grow.
    const bool untouched = co_await blocking(loop_, [path = layout_.path(image.file)] {
        const auto read = qcow2::read_header(path);
        return read && !read->backing_file.empty() && qcow2::holds_nothing(path, *read);
    });
    if (untouched) co_return image.backing;
    co_await freeze(found);
    co_return image.file;
}

Task<void> FolderSr::put(file::Disk disk) {
    return on_disk(loop_, Failure::vdi_create_failed,
                   [layout = layout_, disk = std::move(disk)] { layout.put(disk); });
}

Task<void> FolderSr::collect_garbage() {
    const auto view = co_await look();
    for (const std::string& image : file::garbage(view)) {
        log::info("image_deleted", {{"sr", sr_uuid_}, {"image", image}});
        co_await on_disk(loop_, Failure::vdi_remove_failed,
                         [layout = layout_, image] { layout.remove_image(image); });
    }
}

Task<void> FolderSr::adopt_unclaimed() {
    const auto view = co_await look();
    for (const std::string& name : file::unclaimed(view)) {
        const file::ImageFile& image = view.images.at(name);
        file::Disk disk;
        disk.uuid = image.uuid;
        disk.type = "user";
        log::info("image_adopted", {{"sr", sr_uuid_}, {"vdi", disk.uuid}});
        // The record first: should we die in between, it names no image yet and is put again.
        disk.image = file::Layout::image_name(image.uuid);
        co_await on_disk(loop_, Failure::scan_failed, [layout = layout_, image, disk] {
            layout.put(disk);
            layout.take_over(image);
        });
    }
}

Task<void> FolderSr::qemu_img(std::vector<std::string> args, Duration limit, Failure failure) {
    Command command;
    command.argv = std::move(args);
    command.argv.insert(command.argv.begin(), "qemu-img");
    const Output output = co_await run_command(loop_, std::move(command), limit);
    if (output.status == 0) co_return;
    if (output.err.find("No space left") != std::string::npos)
        throw backend_failure(Failure::no_space, output.err);
    if (output.err.find("lock") != std::string::npos) throw err::vdi_in_use("", output.err);
    throw backend_failure(failure, output.err);
}

// -- merging inner images -------------------------------------------------------------------------
// Started and stopped only by a verb that holds the lease, so that no verb meets a merge.

bool FolderSr::busy(const file::View& view, const std::string& image) const {
    if (prepared_.contains(image)) return true;
    return std::ranges::any_of(open_, [&](const auto& entry) {
        const auto disk = view.disks.find(entry.first);
        if (disk == view.disks.end()) return false;
        const auto chain = file::chain_of(view.images, disk->second.image);
        return std::ranges::find(chain, image) != chain.end();
    });
}

void FolderSr::start_merging() {
    if (merging_ && !merging_->finished()) return;
    merging_ = spawn(loop_, "merge images", merge_all(shared_from_this()));
}

Task<void> FolderSr::merge_all(std::shared_ptr<FolderSr> self) {
    for (bool again = true; again;)
        again = co_await self->merge_one();
}

// The child takes in what only the parent holds (`rebase` in its safe form), then nobody needs the
// parent. Killed anywhere, the child still reads the same; QEMU's own locks keep it off images that
// some other process has open.
Task<bool> FolderSr::merge_one() {
    const auto view = co_await look();
    const auto space = co_await blocking(loop_, [layout = layout_] { return layout.space(); });
    for (const auto& [parent, child] : file::merges(view)) {
        const file::ImageFile& inner = view.images.at(parent);
        if (busy(view, parent) || busy(view, child) || inner.used_bytes * 2 > space.free_bytes)
            continue;
        auto args = rebase_args(inner.backing, layout_.path(child).string());
        try {
            co_await qemu_img(std::move(args), merge_limit, Failure::scan_failed);
        } catch (const ApiError& error) {
            log::info("merge_refused", {{"sr", sr_uuid_}, {"image", child}, {"why", error.what()}});
            continue;
        }
        co_await on_disk(loop_, Failure::scan_failed,
                         [layout = layout_, child] { layout.make_durable(child); });
        const auto lease = co_await queue_.acquire("sr");
        co_await collect_garbage();
        co_return true;
    }
    co_return false;
}

Task<void> FolderSr::stop_merging() {
    while (merging_ && !merging_->finished()) {
        merging_->cancel();
        co_await merging_->wait();
    }
}

}  // namespace basalt::sm
