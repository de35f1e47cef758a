#include "storage-manager/drivers/iso/nfs_share.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <nfsc/libnfs.h>
// Needs what libnfs.h declares.
#include <nfsc/libnfs-raw-mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <pugixml.hpp>
#include <string_view>

namespace basalt::sm {

namespace {

// What QEMU reads, too.
constexpr int nfs_version = 3;
// Of one request. A scan makes a handful of them and gives up at the first that is late.
constexpr int answer_limit_ms = 10'000;
// Tries to connect, of 1, 2 and 4 seconds.
constexpr int connect_tries = 2;
constexpr std::size_t files_max = 20'000;
constexpr std::size_t name_bytes_max = 200;
constexpr std::int64_t sector_bytes = 512;

std::string value_of(const DeviceConfig& config, const char* key) {
    const auto found = config.find(key);
    return found == config.end() ? std::string() : found->second;
}

bool is_server_name(std::string_view text) {
    return !text.empty() && text.size() <= 253 && !text.starts_with('-') &&
           std::ranges::all_of(text, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-';
           });
}

void check_version(const std::string& version) {
    if (version.empty() || version == "3") return;
    throw backend_failure(Failure::invalid_argument,
                          "nfsversion " + version.substr(0, 16) + ": only 3 can be had here");
}

/// Of the options that a mount in the kernel takes, those that mean nothing here or go without
/// saying: everything is read only, over TCP, without locks and caches.
void check_option(std::string_view option) {
    static constexpr std::array silent = {
        "ro",     "soft",   "hard",      "intr",       "nointr",   "lock",   "nolock",
        "tcp",    "noac",   "proto=tcp", "nfsvers=3",  "vers=3",   "atime",  "noatime",
        "nosuid", "noexec", "nodev",     "nodiratime", "defaults", "_netdev"};
    static constexpr std::array numbers = {"timeo=", "retrans=", "rsize=", "wsize=", "retry="};
    if (option.empty() || std::ranges::contains(silent, option)) return;
    for (const std::string_view name : numbers) {
        if (!option.starts_with(name)) continue;
        const std::string_view digits = option.substr(name.size());
        const bool number =
            !digits.empty() && digits.size() <= 9 &&
            std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
        if (number) return;
    }
    throw backend_failure(Failure::invalid_argument,
                          "options: " + std::string(option.substr(0, 64)));
}

void check_options(std::string_view options) {
    while (!options.empty()) {
        const std::size_t end = std::min(options.find(','), options.size());
        check_option(options.substr(0, end));
        options.remove_prefix(std::min(end + 1, options.size()));
    }
}

struct DestroyContext {
    void operator()(nfs_context* context) const { nfs_destroy_context(context); }
};

using Context = std::unique_ptr<nfs_context, DestroyContext>;

std::string reason(const Context& context) {
    const char* text = nfs_get_error(context.get());
    return text != nullptr ? std::string(text).substr(0, 300) : std::string("no reason given");
}

Context mounted(const NfsShare& share) {
    const std::string address = address_of(share);
    Context context(nfs_init_context());
    if (!context) throw backend_failure(Failure::mount_failed, "no memory");
    nfs_set_version(context.get(), nfs_version);
    nfs_set_timeout(context.get(), answer_limit_ms);
    nfs_set_tcp_syncnt(context.get(), connect_tries);
    nfs_set_autoreconnect(context.get(), 0);
    if (nfs_mount(context.get(), address.c_str(), share.path.c_str()) != 0)
        throw backend_failure(Failure::mount_failed, reason(context));
    return context;
}

[[noreturn]] void throw_unlisted(const Context& context) {
    throw backend_failure(Failure::scan_failed, reason(context));
}

/// Names go into records and messages: what is no clean UTF-8 text stays where it is.
bool is_plain(std::string_view name) {
    if (name.empty() || name.size() > name_bytes_max || name.starts_with('.')) return false;
    for (std::size_t at = 0; at < name.size();) {
        const auto byte = static_cast<unsigned char>(name[at]);
        if (byte < 0x20 || byte == 0x7f || byte == '/') return false;
        const std::size_t length = byte < 0x80                    ? 1
                                   : byte >= 0xc2 && byte <= 0xdf ? 2
                                   : byte >= 0xe0 && byte <= 0xef ? 3
                                   : byte >= 0xf0 && byte <= 0xf4 ? 4
                                                                  : 0;
        if (length == 0 || at + length > name.size()) return false;
        for (std::size_t i = 1; i < length; ++i)
            if ((static_cast<unsigned char>(name[at + i]) & 0xc0U) != 0x80) return false;
        at += length;
    }
    return true;
}

/// Empty when it is no file, nor a link to one.
bool describe(const Context& context, NfsFile& file) {
    nfs_stat_64 facts{};
    const std::string path = "/" + file.name;
    if (nfs_stat64(context.get(), path.c_str(), &facts) != 0) return false;
    if (!S_ISREG(facts.nfs_mode)) return false;
    file.size_bytes = static_cast<std::int64_t>(facts.nfs_size);
    file.used_bytes = static_cast<std::int64_t>(facts.nfs_blocks) * sector_bytes;
    return true;
}

std::vector<NfsFile> files_of(const Context& context, bool (*wanted)(const std::string&)) {
    nfsdir* folder = nullptr;
    if (nfs_opendir(context.get(), "/", &folder) != 0) throw_unlisted(context);
    const auto close = [&context](nfsdir* open) { nfs_closedir(context.get(), open); };
    const std::unique_ptr<nfsdir, decltype(close)> held(folder, close);
    std::vector<NfsFile> files;
    while (const nfsdirent* entry = nfs_readdir(context.get(), folder)) {
        NfsFile file{entry->name};
        if (!is_plain(file.name) || !wanted(file.name) || files.size() >= files_max) continue;
        if (S_ISREG(entry->mode)) {
            file.size_bytes = static_cast<std::int64_t>(entry->size);
            file.used_bytes = static_cast<std::int64_t>(entry->used);
        } else if (!describe(context, file)) {
            continue;
        }
        files.push_back(std::move(file));
    }
    std::ranges::sort(files, {}, &NfsFile::name);
    return files;
}

struct TextWriter final : pugi::xml_writer {
    void write(const void* data, std::size_t size) override {
        text.append(static_cast<const char*>(data), size);
    }

    std::string text;
};

}  // namespace

bool is_nfs(const DeviceConfig& config) {
    const std::string location = value_of(config, "location");
    return value_of(config, "type") == "nfs_iso" ||
           (!location.starts_with('/') && location.contains(":/"));
}

NfsShare share_of(const DeviceConfig& config) {
    const std::string location = value_of(config, "location");
    if (location.empty()) throw backend_failure(Failure::iso_location_missing);
    const std::size_t colon = location.find(':');
    NfsShare share;
    share.server = location.substr(0, colon);
    if (colon == std::string::npos || !is_server_name(share.server))
        throw backend_failure(Failure::iso_location_form, location.substr(0, 64));
    share.path = checked_path(location.substr(colon + 1), Failure::iso_location_form);
    check_version(value_of(config, "nfsversion"));
    check_options(value_of(config, "options"));
    return share;
}

std::string address_of(const NfsShare& share) {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(share.server.c_str(), nullptr, &hints, &found);
    if (failed != 0)
        throw backend_failure(Failure::mount_failed,
                              share.server + ": " + std::string(gai_strerror(failed)));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> held(found, freeaddrinfo);
    std::array<char, INET_ADDRSTRLEN> text{};
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the answer
    const auto* address = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
    inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
    return text.data();
}

NfsListing list_share(const NfsShare& share, bool (*wanted)(const std::string&)) {
    const Context context = mounted(share);
    NfsListing out;
    struct statvfs facts{};
    if (nfs_statvfs(context.get(), "/", &facts) != 0) throw_unlisted(context);
    const auto unit = static_cast<std::int64_t>(facts.f_frsize);
    out.size_bytes = static_cast<std::int64_t>(facts.f_blocks) * unit;
    out.used_bytes = out.size_bytes - static_cast<std::int64_t>(facts.f_bavail) * unit;
    out.files = files_of(context, wanted);
    return out;
}

std::string exports_of(const NfsShare& share) {
    const std::string address = address_of(share);
    exportnode* list = mount_getexports_timeout(address.c_str(), answer_limit_ms);
    if (list == nullptr)
        throw backend_failure(Failure::mount_failed, share.server + " lists no exports");
    const std::unique_ptr<exportnode, decltype(&mount_free_export_list)> held(
        list, mount_free_export_list);
    pugi::xml_document document;
    pugi::xml_node exports = document.append_child("nfs-exports");
    for (const exportnode* one = list; one != nullptr; one = one->ex_next) {
        pugi::xml_node node = exports.append_child("Export");
        std::string groups;
        for (const groupnode* group = one->ex_groups; group != nullptr; group = group->gr_next)
            groups += (groups.empty() ? "" : ",") + std::string(group->gr_name);
        node.append_child("Target").text().set(share.server.c_str());
        node.append_child("Path").text().set(one->ex_dir);
        node.append_child("Accesslist").text().set(groups.empty() ? "*" : groups.c_str());
    }
    TextWriter writer;
    document.save(writer, " ");
    return std::move(writer.text);
}

}  // namespace basalt::sm
