#include "storage-manager/drivers/file/layout.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>

#include "base/durable_file.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/uuid.hpp"

namespace basalt::sm::file {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view disk_suffix = ".vdi.json";
constexpr std::string_view image_prefix = "img-";
constexpr std::string_view image_suffix = ".qcow2";
constexpr std::uintmax_t sidecar_bytes_max = 256 * 1024;

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

bool is_uuid(const std::string& text) {
    const auto uuid = Uuid::parse(text);
    return uuid && uuid->text() == text;
}

void sync_path(const fs::path& path, int flags) {
    const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
    if (!fd || fsync(fd.get()) != 0) throw_errno(path.string());
}

std::optional<Disk> parse_disk(const fs::path& path, const std::string& uuid) {
    std::error_code unreadable;
    if (fs::file_size(path, unreadable) > sidecar_bytes_max || unreadable) return std::nullopt;
    std::ifstream in(path);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const Json json = Json::parse(text, nullptr, false);
    try {
        Disk disk;
        disk.uuid = uuid;
        disk.image = json.at("image").get<std::string>();
        disk.name = json.value("name", std::string());
        disk.description = json.value("description", std::string());
        disk.type = json.value("type", std::string("user"));
        disk.sm_config = json.value("sm_config", std::map<std::string, std::string>());
        if (disk.image.find('/') != std::string::npos) throw std::runtime_error("image has a path");
        return disk;
    } catch (const std::exception& error) {
        log::warn("sidecar_unreadable", {{"file", path.string()}, {"error", error.what()}});
        return std::nullopt;
    }
}

void unlink_durably(const fs::path& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) return;
        throw_errno(path.string());
    }
    sync_folder(path.parent_path());
}

std::optional<ImageFile> parse_image(const fs::path& path) {
    ImageFile image;
    image.file = path.filename().string();
    std::string stem = image.file.substr(0, image.file.size() - image_suffix.size());
    const bool prefixed = stem.starts_with(image_prefix);
    if (prefixed) stem.erase(0, image_prefix.size());
    if (is_uuid(stem)) image.uuid = stem;
    image.ours = prefixed && !image.uuid.empty();
    const auto header = qcow2::read_header(path);
    struct stat facts{};
    if (!header || lstat(path.c_str(), &facts) != 0) {
        log::warn("image_unreadable", {{"file", path.string()}});
        return std::nullopt;
    }
    image.backing = header->backing_file;
    image.virtual_bytes = header->virtual_bytes;
    image.used_bytes = static_cast<std::int64_t>(facts.st_blocks) * 512;
    image.usable =
        !header->external_data && !header->corrupt && image.backing.find('/') == std::string::npos;
    return image;
}

std::map<std::string, std::vector<std::string>> children_of(const Images& images) {
    std::map<std::string, std::vector<std::string>> children;
    for (const auto& [file, image] : images)
        if (!image.backing.empty()) children[image.backing].push_back(file);
    return children;
}

std::set<std::string> named_by(const Disks& disks) {
    std::set<std::string> named;
    for (const auto& [uuid, disk] : disks)
        named.insert(disk.image);
    return named;
}

}  // namespace

std::string Layout::image_name(const std::string& uuid) {
    return std::string(image_prefix) + uuid + std::string(image_suffix);
}

fs::path Layout::disk_path(const std::string& uuid) const {
    return folder_ / (uuid + std::string(disk_suffix));
}

View Layout::look() const {
    View view;
    for (const auto& entry : fs::directory_iterator(folder_)) {
        const std::string name = entry.path().filename().string();
        if (name.ends_with(disk_suffix)) {
            const std::string uuid = name.substr(0, name.size() - disk_suffix.size());
            auto disk = is_uuid(uuid) ? parse_disk(entry.path(), uuid) : std::nullopt;
            view.whole = view.whole && disk;
            if (disk) view.disks.emplace(uuid, std::move(*disk));
        } else if (name.ends_with(image_suffix)) {
            auto image = parse_image(entry.path());
            view.whole = view.whole && image;
            if (image) view.images.emplace(name, std::move(*image));
        }
    }
    return view;
}

std::optional<Disk> Layout::disk(const std::string& uuid) const {
    if (!fs::exists(disk_path(uuid))) return std::nullopt;
    return parse_disk(disk_path(uuid), uuid);
}

void Layout::put(const Disk& disk) const {
    const Json json = {{"image", disk.image},
                       {"name", disk.name},
                       {"description", disk.description},
                       {"type", disk.type},
                       {"sm_config", disk.sm_config}};
    write_durably(disk_path(disk.uuid),
                  json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void Layout::remove_disk(const std::string& uuid) const {
    unlink_durably(disk_path(uuid));
}

void Layout::remove_image(const std::string& image) const {
    unlink_durably(path(image));
}

std::string Layout::take_over(const ImageFile& image) const {
    const std::string name = image_name(image.uuid);
    rename_durably(path(image.file), path(name));
    return name;
}

void Layout::make_durable(const std::string& image) const {
    sync_path(path(image), O_RDONLY);
    sync_folder(folder_);
}

Layout::Space Layout::space() const {
    struct statvfs facts{};
    if (statvfs(folder_.c_str(), &facts) != 0) throw_errno(folder_.string());
    const auto unit = static_cast<std::int64_t>(facts.f_frsize);
    return {static_cast<std::int64_t>(facts.f_blocks) * unit,
            static_cast<std::int64_t>(facts.f_bavail) * unit};
}

std::vector<std::string> chain_of(const Images& images, const std::string& image) {
    std::vector<std::string> chain;
    for (std::string next = image; !next.empty();) {
        const auto found = images.find(next);
        if (found == images.end() || !found->second.usable || chain.size() > chain_images_max + 1)
            return {};
        chain.push_back(next);
        next = found->second.backing;
    }
    return chain;
}

std::vector<std::string> garbage(const View& view) {
    if (!view.whole) return {};
    const auto named = named_by(view.disks);
    std::vector<std::string> out;
    Images rest = view.images;
    for (bool found = true; found;) {
        found = false;
        const auto children = children_of(rest);
        for (const auto& [file, image] : rest) {
            if (!image.ours || named.contains(file) || children.contains(file)) continue;
            out.push_back(file);
            found = true;
        }
        for (const std::string& file : out)
            rest.erase(file);
    }
    return out;
}

std::vector<std::string> unclaimed(const View& view) {
    const auto named = named_by(view.disks);
    const auto children = children_of(view.images);
    const auto has_image = [&view](const std::string& uuid) {
        const auto disk = view.disks.find(uuid);
        return disk != view.disks.end() && view.images.contains(disk->second.image);
    };
    std::vector<std::string> out;
    for (const auto& [file, image] : view.images)
        if (!image.ours && !image.uuid.empty() && !named.contains(file) &&
            !children.contains(file) && !has_image(image.uuid) &&
            !chain_of(view.images, file).empty())
            out.push_back(file);
    return out;
}

std::vector<Merge> merges(const View& view) {
    if (!view.whole) return {};
    const auto named = named_by(view.disks);
    std::vector<Merge> out;
    for (const auto& [parent, children] : children_of(view.images)) {
        const auto found = view.images.find(parent);
        if (children.size() != 1 || found == view.images.end() || !found->second.ours ||
            named.contains(parent) || chain_of(view.images, children.front()).empty())
            continue;
        out.push_back({parent, children.front()});
    }
    return out;
}

}  // namespace basalt::sm::file
