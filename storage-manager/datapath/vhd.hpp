#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.hpp"

/// The VHD image format, as far as streams need it: what stands where, and what the headers say.
/// Pure. Source: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0.
namespace basalt::sm::vhd {

inline constexpr std::uint64_t sector_bytes = 512;
inline constexpr std::uint64_t block_bytes = std::uint64_t{2} << 20;
/// The bitmap before each block: a bit for each of its sectors.
inline constexpr std::uint64_t bitmap_bytes = block_bytes / sector_bytes / 8;
static_assert(bitmap_bytes == sector_bytes, "clients expect one sector of bitmap");
/// The most that the format's readers take.
inline constexpr std::uint64_t disk_bytes_max = std::uint64_t{2040} << 30;
inline constexpr std::uint32_t absent = 0xffffffff;

enum class Type : std::uint32_t { fixed = 2, dynamic = 3, differencing = 4 };

struct Image {
    Type type = Type::dynamic;
    std::uint64_t size_bytes = 0;
    Uuid id;
    Uuid parent;                        ///< of a differencing one
    std::uint32_t timestamp = 0;        ///< seconds since 2000 UTC
    std::vector<std::uint64_t> blocks;  ///< numbers of the blocks that it holds, ascending
};

/// All that stands before the first block: footer's copy, header and allocation table.
[[nodiscard]] std::string head_text(const Image& image);
/// What stands at the end.
[[nodiscard]] std::string footer_text(const Image& image);
/// The length of the whole image.
[[nodiscard]] std::uint64_t stream_bytes(const Image& image);

inline constexpr std::size_t footer_bytes = 512;
inline constexpr std::size_t header_bytes = 1024;

/// What a footer or its copy says. Throws std::invalid_argument with the reason.
struct Footer {
    Type type = Type::fixed;
    std::uint64_t size_bytes = 0;
    std::uint64_t header_at = 0;
};

[[nodiscard]] bool is_footer(std::string_view bytes);
[[nodiscard]] Footer parse_footer(std::string_view bytes);

/// What the header of a dynamic or differencing image says. Throws std::invalid_argument.
struct Header {
    std::uint64_t table_at = 0;
    std::uint32_t entries = 0;
    std::uint32_t block_bytes = 0;

    /// Of one block's bitmap, whole sectors.
    [[nodiscard]] std::uint64_t bitmap_bytes() const;
};

[[nodiscard]] Header parse_header(std::string_view bytes, const Footer& footer);

/// A block of an image, in the order in which it comes in the stream.
struct Place {
    std::uint64_t at = 0;      ///< of its bitmap, in the image
    std::uint64_t number = 0;  ///< among the blocks of the disk
};

/// The blocks that a table names, in order. Throws std::invalid_argument when two overlap or one
/// stands before `data_at`.
[[nodiscard]] std::vector<Place> places_of(std::string_view table, const Header& header,
                                           std::uint64_t data_at);

/// A run of sectors of a block.
struct Run {
    std::uint64_t first = 0;
    std::uint64_t count = 0;

    bool operator==(const Run&) const = default;
};

/// The runs of sectors whose bits are set, highest bit first, of `sectors` in all.
[[nodiscard]] std::vector<Run> runs_of(std::string_view bitmap, std::uint64_t sectors);

}  // namespace basalt::sm::vhd
