#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

/// The few header fields of a qcow2 image that a driver needs, read without starting a program.
/// Numbers in the file are big-endian. Every call blocks: pool threads only.
namespace basalt::sm::qcow2 {

struct Header {
    std::int64_t virtual_bytes = 0;
    std::string backing_file;     // as the image names it; empty: none
    bool external_data = false;   // its clusters are in another file
    bool corrupt = false;         // QEMU marked it so
    std::uint64_t l1_offset = 0;  // of the first-level table
    std::uint32_t l1_entries = 0;
    bool has_internal_snapshots = false;
};

/// Empty when the file cannot be read or is no qcow2 image. Symbolic links are not followed.
std::optional<Header> read_header(const std::filesystem::path& image);

/// Whether the image holds no cluster of its own. Only for an image that nobody writes to.
bool holds_nothing(const std::filesystem::path& image, const Header& header);

}  // namespace basalt::sm::qcow2
