#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "storage-manager/api/driver.hpp"

/// Where two disks may differ, from what their chains hold. Pure.
namespace basalt::sm {

struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const Extent&) const = default;
};

struct Layers {
    std::size_t one = 0;
    std::size_t other = 0;
};

/// How many images of each chain lie above the first that both have: only there can the disks
/// differ. All of them when they have none in common.
Layers layers_above_common(const Attachment& one, const Attachment& other);

/// What the uppermost `layers` images of a chain hold, from the output of `qemu-img map
/// --output=json`. Throws VDI_IO_ERROR when it is no such output.
std::vector<Extent> held_above(const nlohmann::json& map, std::size_t layers);

/// Where the disk holds anything but zeros, from the same output.
std::vector<Extent> data_in(const nlohmann::json& map);

/// Both sets as one: sorted, joined where they touch, cut at `size_bytes`.
std::vector<Extent> joined(std::vector<Extent> one, const std::vector<Extent>& other,
                           std::uint64_t size_bytes);

/// The blocks of 64 KiB that the extents touch, of `length` bytes from `offset` on: hex digits of a
/// bitmap, the first block in the highest bit, whole bytes.
std::string block_bits(const std::vector<Extent>& extents, std::uint64_t offset,
                       std::uint64_t length);

/// One `offset length` a line, as sm-stream reads them.
std::string extent_lines(const std::vector<Extent>& extents);

}  // namespace basalt::sm
