#include "storage-manager/drivers/iso/iso_driver.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/fd.hpp"
#include "base/wait.hpp"
#include "storage-manager/drivers/iso/iso_files.hpp"
#include "storage-manager/drivers/iso/nfs_iso_driver.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t sector_bytes = 512;
constexpr std::int64_t upload_bytes_max = std::int64_t{64} << 30;

std::string checked_name(const std::string& name) {
    const bool plain = !name.empty() && name.size() <= 200 && !name.starts_with('.') &&
                       std::ranges::none_of(name, [](char c) {
                           return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                       });
    if (!plain || !is_image_name(name)) throw backend_failure(Failure::iso_extension, name);
    return name;
}

std::optional<agent::VdiInfo> describe(const fs::path& path, const std::string& sr_uuid) {
    struct stat facts{};
    // Links are followed, as collections of CDs often are links; what they lead to must be a file.
    if (stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
    agent::VdiInfo info;
    info.location = path.filename().string();
    info.name = info.location;
    info.uuid = iso_uuid(sr_uuid, info.location);
    info.size_bytes = facts.st_size;
    info.used_bytes = static_cast<std::int64_t>(facts.st_blocks) * sector_bytes;
    info.read_only = true;
    return info;
}

agent::SrInfo measure(const fs::path& folder, const std::string& sr_uuid) {
    struct statvfs facts{};
    if (statvfs(folder.c_str(), &facts) != 0)
        throw backend_failure(Failure::sr_unavailable, std::strerror(errno));
    const auto unit = static_cast<std::int64_t>(facts.f_frsize);
    agent::SrInfo info;
    info.uuid = sr_uuid;
    info.size_bytes = static_cast<std::int64_t>(facts.f_blocks) * unit;
    info.used_bytes = info.size_bytes - static_cast<std::int64_t>(facts.f_bavail) * unit;
    return info;
}

agent::SrContents list(const fs::path& folder, const std::string& sr_uuid) {
    agent::SrContents out;
    out.sr = measure(folder, sr_uuid);
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with('.') || !is_image_name(name)) continue;
        auto info = describe(entry.path(), sr_uuid);
        if (!info) continue;
        out.sr.virtual_bytes += info->size_bytes;
        out.vdis.push_back(std::move(*info));
    }
    std::ranges::sort(out.vdis, {}, &agent::VdiInfo::location);
    return out;
}

agent::VdiInfo make_file(const fs::path& folder, const std::string& sr_uuid,
                         const agent::VdiSpec& spec) {
    const fs::path path = folder / checked_name(spec.name);
    if (spec.size_bytes <= 0 || spec.size_bytes > upload_bytes_max)
        throw backend_failure(Failure::vdi_size, std::to_string(spec.size_bytes));
    const std::int64_t size = (spec.size_bytes + sector_bytes - 1) / sector_bytes * sector_bytes;
    const UniqueFd fd(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd && errno == EEXIST) throw backend_failure(Failure::vdi_exists, spec.name);
    if (!fd || ftruncate(fd.get(), size) != 0 || fsync(fd.get()) != 0)
        throw backend_failure(Failure::vdi_create_failed, std::strerror(errno));
    const UniqueFd parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    fsync(parent.get());
    auto info = describe(path, sr_uuid);
    if (!info) throw backend_failure(Failure::vdi_create_failed, spec.name);
    return *info;
}

fs::path location_of(const DeviceConfig& config) {
    const auto location = config.find("location");
    if (location == config.end()) throw backend_failure(Failure::iso_location_missing);
    return checked_path(location->second, Failure::iso_local_path);
}

Task<void> require_folder(RealLoop& loop, fs::path folder) {
    const bool present = co_await blocking(loop, [folder] {
        std::error_code failed;
        return fs::is_directory(folder, failed);
    });
    if (!present) throw backend_failure(Failure::iso_local_path, folder.string());
}

Task<void> nothing() {
    co_return;
}

// `cifs` has no driver here; `nfs_iso` and folders need not be named.
void check_type(const DeviceConfig& config) {
    const auto type = config.find("type");
    if (type == config.end() || type->second.empty() || type->second == "nfs_iso") return;
    throw backend_failure(Failure::invalid_argument, "type " + type->second.substr(0, 64));
}

Task<void> require_share(RealLoop& loop, NfsShare share) {
    co_await blocking(loop, [share] { return list_share(share, is_image_name); });
}

std::unique_ptr<Driver> make_driver(RealLoop& loop, std::string sr_uuid,
                                    const DeviceConfig& config) {
    check_type(config);
    if (is_nfs(config))
        return std::make_unique<NfsIsoDriver>(loop, std::move(sr_uuid), share_of(config));
    return std::make_unique<IsoDriver>(loop, std::move(sr_uuid), location_of(config));
}

Task<void> require_library(RealLoop& loop, DeviceConfig config) {
    check_type(config);
    if (is_nfs(config)) return require_share(loop, share_of(config));
    return require_folder(loop, location_of(config));
}

Task<std::string> probe(RealLoop& loop, DeviceConfig config) {
    check_type(config);
    if (!is_nfs(config)) co_return "<SRlist></SRlist>";
    co_return co_await blocking(loop, [share = share_of(config)] { return exports_of(share); });
}

}  // namespace

IsoDriver::IsoDriver(RealLoop& loop, std::string sr_uuid, fs::path folder)
    : loop_(loop), sr_uuid_(std::move(sr_uuid)), folder_(std::move(folder)) {}

Task<agent::SrInfo> IsoDriver::attach() {
    co_await require_folder(loop_, folder_);
    co_return co_await blocking(loop_,
                                [folder = folder_, sr = sr_uuid_] { return measure(folder, sr); });
}

Task<void> IsoDriver::detach() {
    co_return;
}

Task<agent::SrContents> IsoDriver::scan() {
    co_await require_folder(loop_, folder_);
    co_return co_await blocking(loop_,
                                [folder = folder_, sr = sr_uuid_] { return list(folder, sr); });
}

Task<agent::VdiInfo> IsoDriver::create(agent::VdiSpec spec) {
    return blocking(loop_, [folder = folder_, sr = sr_uuid_, spec = std::move(spec)] {
        return make_file(folder, sr, spec);
    });
}

Task<agent::VdiInfo> IsoDriver::stat(Location vdi) {
    return find(std::move(vdi));
}

Task<void> IsoDriver::destroy(Location vdi) {
    std::string name;
    try {
        name = (co_await find(vdi)).location;
    } catch (const ApiError&) {
        co_return;  // absent
    }
    co_await blocking(loop_, [path = folder_ / name] {
        if (::unlink(path.c_str()) != 0 && errno != ENOENT)
            throw backend_failure(Failure::vdi_remove_failed, std::strerror(errno));
    });
}

Task<Attachment> IsoDriver::open(Location vdi, agent::Access access) {
    const std::string name = (co_await find(std::move(vdi))).location;
    Attachment out;
    out.chain.push_back({(folder_ / name).string(), "raw"});
    out.read_only = access == agent::Access::ro;
    co_return out;
}

Task<void> IsoDriver::close(Location) {
    co_return;
}

Task<agent::VdiInfo> IsoDriver::find(Location vdi) {
    const auto contents =
        co_await blocking(loop_, [folder = folder_, sr = sr_uuid_] { return list(folder, sr); });
    for (const agent::VdiInfo& info : contents.vdis)
        if (info.location == vdi || info.uuid == vdi) co_return info;
    throw backend_failure(Failure::vdi_unavailable, vdi);
}

Kind iso_kind(RealLoop& loop) {
    Kind kind;
    kind.facts.type = "iso";
    kind.facts.name = "ISO library";
    kind.facts.description = "CD images in a folder of this host or of an NFS server";
    kind.facts.vendor = "Basalt";
    kind.facts.version = "1.0";
    kind.facts.capabilities = {"SR_PROBE",   "SR_SCAN",    "SR_ATTACH",
                               "SR_DETACH",  "VDI_CREATE", "VDI_DELETE",
                               "VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE"};
    kind.facts.configuration = {{"location", "absolute path of the folder, or SERVER:/PATH"},
                                {"legacy_mode", "true: the location is a local folder"},
                                {"type", "nfs_iso: the location is on an NFS server"},
                                {"nfsversion", "3"},
                                {"options", "mount options of a read-only share"}};
    kind.make = [&loop](std::string sr_uuid, DeviceConfig config) {
        return make_driver(loop, std::move(sr_uuid), config);
    };
    kind.create = [&loop](std::string, DeviceConfig config) {
        return require_library(loop, std::move(config));
    };
    kind.destroy = [](std::string, DeviceConfig) { return nothing(); };  // the files are the user's
    kind.probe = [&loop](DeviceConfig config) { return probe(loop, std::move(config)); };
    return kind;
}

}  // namespace basalt::sm
