#include "storage-manager/drivers/iso/iso_driver.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/fd.hpp"
#include "base/uuid.hpp"
#include "base/wait.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t sector_bytes = 512;
constexpr std::int64_t upload_bytes_max = std::int64_t{64} << 30;

bool is_image_name(const std::string& name) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](char c) {
        return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    });
    return lower.ends_with(".iso") || lower.ends_with(".img");
}

std::string checked_name(const std::string& name) {
    const bool plain = !name.empty() && name.size() <= 200 && !name.starts_with('.') &&
                       std::ranges::none_of(name, [](char c) {
                           return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                       });
    if (!plain || !is_image_name(name)) throw backend_failure(Failure::iso_extension, name);
    return name;
}

// A name-based uuid (version 5): the first half of SHA-1 over the SR and the file's name.
std::string uuid_of(const std::string& sr_uuid, const std::string& name) {
    const std::string text = sr_uuid + "/" + name;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha1(), nullptr);
    digest[6] = static_cast<unsigned char>((digest[6] & 0x0fU) | 0x50U);
    digest[8] = static_cast<unsigned char>((digest[8] & 0x3fU) | 0x80U);
    std::string out;
    constexpr std::string_view digits = "0123456789abcdef";
    for (std::size_t i = 0; i < 16; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
        out += digits[digest[i] >> 4U];
        out += digits[digest[i] & 15U];
    }
    return out;
}

std::optional<agent::VdiInfo> describe(const fs::path& path, const std::string& sr_uuid) {
    struct stat facts{};
    // Links are followed, as collections of CDs often are links; what they lead to must be a file.
    if (stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
    agent::VdiInfo info;
    info.location = path.filename().string();
    info.name = info.location;
    info.uuid = uuid_of(sr_uuid, info.location);
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
    kind.facts.description = "CD images in a folder of this host";
    kind.facts.vendor = "Basalt";
    kind.facts.version = "1.0";
    kind.facts.capabilities = {"SR_SCAN",    "SR_ATTACH",  "SR_DETACH",  "VDI_CREATE",
                               "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE"};
    kind.facts.configuration = {{"location", "absolute path of the folder"},
                                {"legacy_mode", "true: the location is a local folder"}};
    kind.make = [&loop](std::string sr_uuid, DeviceConfig config) -> std::unique_ptr<Driver> {
        return std::make_unique<IsoDriver>(loop, std::move(sr_uuid), location_of(config));
    };
    kind.create = [&loop](std::string, DeviceConfig config) {
        return require_folder(loop, location_of(config));
    };
    kind.destroy = [](std::string, DeviceConfig) { return nothing(); };  // the files are the user's
    kind.probe = [](DeviceConfig) -> Task<std::string> { co_return "<SRlist></SRlist>"; };
    return kind;
}

}  // namespace basalt::sm
