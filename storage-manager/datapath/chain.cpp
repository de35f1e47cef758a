#include "storage-manager/datapath/chain.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <string_view>

#include "base/json.hpp"

namespace basalt::sm {

namespace {

// Without this QEMU refuses a block device as a file, and the other way round.
const char* file_driver(const Image& image) {
    struct stat facts{};
    const bool device = stat(image.path.c_str(), &facts) == 0 && S_ISBLK(facts.st_mode);
    return device ? "host_device" : "file";
}

bool has_backing(const Image& image) {
    return image.format == "qcow2";
}

constexpr std::string_view nfs_scheme = "nfs://";

// Every server maps root to somebody; the reader's own number means nothing to it.
Json nfs_options(const Image& image) {
    const std::string place = image.path.substr(nfs_scheme.size());
    const std::size_t slash = std::min(place.find('/'), place.size());
    return {{"driver", "nfs"},
            {"server", {{"type", "inet"}, {"host", place.substr(0, slash)}}},
            {"path", place.substr(slash)},
            {"user", 0},
            {"group", 0},
            {"read-only", true}};
}

// Host caching is on, flushes reach the disk: what the guest flushed survives a power cut. Locks
// are taken, so that no second program writes an image by mistake.
Json file_options(const Image& image, bool read_only) {
    if (is_remote(image)) return nfs_options(image);
    return {{"driver", file_driver(image)}, {"filename", image.path},
            {"read-only", read_only},       {"locking", "on"},
            {"discard", "unmap"},           {"cache", {{"direct", false}, {"no-flush", false}}}};
}

Json format_options(const Image& image, bool read_only) {
    return {{"driver", image.format},
            {"read-only", read_only},
            {"discard", "unmap"},
            {"cache", {{"direct", false}, {"no-flush", false}}}};
}

}  // namespace

bool is_remote(const Image& image) {
    return image.path.starts_with(nfs_scheme);
}

Json file_node(const Image& image, const NodeNames& names, bool read_only) {
    Json node = file_options(image, read_only);
    node["node-name"] = names.file;
    return node;
}

Json relayed_node(const std::string& socket, const NodeNames& names) {
    return {{"driver", "nbd"},
            {"node-name", names.file},
            {"server", {{"type", "unix"}, {"path", socket}}},
            {"export", "disk"},
            {"read-only", true}};
}

Json format_node(const Image& image, const NodeNames& names, const std::string& backing,
                 bool read_only) {
    Json node = format_options(image, read_only);
    node["node-name"] = names.format;
    node["file"] = names.file;
    if (has_backing(image)) node["backing"] = backing.empty() ? Json() : Json(backing);
    return node;
}

std::string json_filename(const Attachment& disk, bool read_only) {
    Json below;
    for (std::size_t i = disk.chain.size(); i-- > 0;) {
        const Image& image = disk.chain[i];
        const bool fixed = read_only || i > 0;
        Json node = format_options(image, fixed);
        node["file"] = file_options(image, fixed);
        if (has_backing(image)) node["backing"] = std::move(below);
        below = std::move(node);
    }
    return "json:" + below.dump();
}

}  // namespace basalt::sm
