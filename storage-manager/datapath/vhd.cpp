#include "storage-manager/datapath/vhd.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace basalt::sm::vhd {

namespace {

constexpr std::string_view footer_cookie = "conectix";
constexpr std::string_view header_cookie = "cxsparse";
constexpr std::uint64_t no_offset = ~std::uint64_t{0};
constexpr std::uint32_t version_1 = 0x00010000;
constexpr std::uint32_t features_reserved = 2;
// Readers round the size to the geometry's unless the writer is one that they know to keep it.
constexpr std::string_view creator = std::string_view("tap\0", 4);

constexpr std::size_t footer_checksum_at = 64;
constexpr std::size_t header_checksum_at = 36;

template <class T>
void put(std::string& out, T value) {
    for (std::size_t i = sizeof(T); i-- > 0;)
        out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

template <class T>
T get(std::string_view bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>((value << 8) | static_cast<unsigned char>(bytes[at + i]));
    return value;
}

void put_uuid(std::string& out, const Uuid& uuid) {
    const std::string text = uuid.text();
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string digits;
    std::ranges::copy_if(text, std::back_inserter(digits), [](char c) { return c != '-'; });
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        out += static_cast<char>(digit(digits[i]) * 16 + digit(digits[i + 1]));
}

/// The complement of the sum of all bytes; those of the checksum itself count as zero.
std::uint32_t checksum(std::string_view bytes, std::size_t at) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        if (i < at || i >= at + sizeof sum) sum += static_cast<unsigned char>(bytes[i]);
    return ~sum;
}

void sign(std::string& bytes, std::size_t at) {
    std::string sum;
    put(sum, checksum(bytes, at));
    bytes.replace(at, sum.size(), sum);
}

struct Geometry {
    std::uint64_t cylinders = 0;
    std::uint64_t heads = 0;
    std::uint64_t sectors = 0;
};

// The specification's appendix.
Geometry geometry_of(std::uint64_t size_bytes) {
    constexpr std::uint64_t sectors_max = std::uint64_t{65535} * 16 * 255;
    const std::uint64_t total = std::min(size_bytes / sector_bytes, sectors_max);
    if (total >= std::uint64_t{65535} * 16 * 63) return {total / 255 / 16, 16, 255};
    std::uint64_t tracks = total / 17;
    std::uint64_t heads = std::max<std::uint64_t>((tracks + 1023) / 1024, 4);
    std::uint64_t sectors = 17;
    if (tracks >= heads * 1024 || heads > 16) {
        sectors = 31;
        heads = 16;
        tracks = total / sectors;
    }
    if (tracks >= heads * 1024) {
        sectors = 63;
        tracks = total / sectors;
    }
    return {tracks / heads, heads, sectors};
}

std::uint64_t blocks_of_disk(std::uint64_t size_bytes) {
    return (size_bytes + block_bytes - 1) / block_bytes;
}

std::uint64_t table_bytes(std::uint64_t entries) {
    return (entries * sizeof(std::uint32_t) + sector_bytes - 1) / sector_bytes * sector_bytes;
}

std::string header_text(const Image& image) {
    std::string out(header_cookie);
    put(out, no_offset);
    put(out, std::uint64_t{footer_bytes + header_bytes});
    put(out, version_1);
    put(out, static_cast<std::uint32_t>(blocks_of_disk(image.size_bytes)));
    put(out, static_cast<std::uint32_t>(block_bytes));
    put(out, std::uint32_t{0});
    if (image.type == Type::differencing) {
        put_uuid(out, image.parent);
        put(out, image.timestamp);
        put(out, std::uint32_t{0});
        for (const char c : image.parent.text() + ".vhd")  // its name, in UTF-16
            put(out, static_cast<std::uint16_t>(c));
    }
    out.resize(header_bytes, '\0');
    sign(out, header_checksum_at);
    return out;
}

std::string table_text(const Image& image) {
    const std::uint64_t entries = blocks_of_disk(image.size_bytes);
    std::vector<std::uint32_t> places(entries, absent);
    std::uint64_t at = footer_bytes + header_bytes + table_bytes(entries);
    for (const std::uint64_t block : image.blocks) {
        places.at(block) = static_cast<std::uint32_t>(at / sector_bytes);
        at += bitmap_bytes + block_bytes;
    }
    std::string out;
    out.reserve(table_bytes(entries));
    for (const std::uint32_t place : places)
        put(out, place);
    out.resize(table_bytes(entries), '\xff');
    return out;
}

[[noreturn]] void refuse(const std::string& why) {
    throw std::invalid_argument("the VHD image " + why);
}

}  // namespace

std::string footer_text(const Image& image) {
    std::string out(footer_cookie);
    put(out, features_reserved);
    put(out, version_1);
    put(out, image.type == Type::fixed ? no_offset : std::uint64_t{footer_bytes});
    put(out, image.timestamp);
    out += creator;
    put(out, version_1);
    put(out, std::uint32_t{0});
    put(out, image.size_bytes);
    put(out, image.size_bytes);
    const Geometry geometry = geometry_of(image.size_bytes);
    put(out, static_cast<std::uint16_t>(geometry.cylinders));
    put(out, static_cast<std::uint8_t>(geometry.heads));
    put(out, static_cast<std::uint8_t>(geometry.sectors));
    put(out, static_cast<std::uint32_t>(image.type));
    put(out, std::uint32_t{0});
    put_uuid(out, image.id);
    out.resize(footer_bytes, '\0');
    sign(out, footer_checksum_at);
    return out;
}

std::string head_text(const Image& image) {
    return footer_text(image) + header_text(image) + table_text(image);
}

std::uint64_t stream_bytes(const Image& image) {
    return 2 * footer_bytes + header_bytes + table_bytes(blocks_of_disk(image.size_bytes)) +
           image.blocks.size() * (bitmap_bytes + block_bytes);
}

bool is_footer(std::string_view bytes) {
    return bytes.size() >= footer_bytes && bytes.starts_with(footer_cookie) &&
           get<std::uint32_t>(bytes, footer_checksum_at) ==
               checksum(bytes.substr(0, footer_bytes), footer_checksum_at);
}

Footer parse_footer(std::string_view bytes) {
    if (!is_footer(bytes)) refuse("has no valid footer");
    Footer out;
    const auto type = get<std::uint32_t>(bytes, 60);
    if (type < 2 || type > 4) refuse("is of a type that nobody knows");
    out.type = static_cast<Type>(type);
    out.size_bytes = get<std::uint64_t>(bytes, 48);
    out.header_at = get<std::uint64_t>(bytes, 16);
    if (out.size_bytes > disk_bytes_max || out.size_bytes % sector_bytes != 0)
        refuse("has an impossible size");
    return out;
}

std::uint64_t Header::bitmap_bytes() const {
    const std::uint64_t bits = block_bytes / sector_bytes;
    return (bits / 8 + sector_bytes - 1) / sector_bytes * sector_bytes;
}

Header parse_header(std::string_view bytes, const Footer& footer) {
    if (bytes.size() < header_bytes || !bytes.starts_with(header_cookie) ||
        get<std::uint32_t>(bytes, header_checksum_at) !=
            checksum(bytes.substr(0, header_bytes), header_checksum_at))
        refuse("has no valid header");
    constexpr std::uint32_t block_bytes_max = std::uint32_t{16} << 20;
    Header out;
    out.table_at = get<std::uint64_t>(bytes, 16);
    out.entries = get<std::uint32_t>(bytes, 28);
    out.block_bytes = get<std::uint32_t>(bytes, 32);
    const bool power_of_two = (out.block_bytes & (out.block_bytes - 1)) == 0;
    if (out.block_bytes < 8 * sector_bytes || out.block_bytes > block_bytes_max || !power_of_two)
        refuse("has blocks of an impossible size");
    if (std::uint64_t{out.entries} * out.block_bytes < footer.size_bytes ||
        out.entries > disk_bytes_max / block_bytes * 16)
        refuse("has a table of an impossible size");
    return out;
}

std::vector<Place> places_of(std::string_view table, const Header& header, std::uint64_t data_at) {
    std::vector<Place> out;
    for (std::uint32_t i = 0; i < header.entries; ++i) {
        const auto sector = get<std::uint32_t>(table, i * sizeof(std::uint32_t));
        if (sector != absent) out.push_back({sector * sector_bytes, i});
    }
    std::ranges::sort(out, {}, &Place::at);
    std::uint64_t free_at = data_at;
    for (const Place& place : out) {
        if (place.at < free_at) refuse("has blocks that overlap");
        free_at = place.at + header.bitmap_bytes() + header.block_bytes;
    }
    return out;
}

std::vector<Run> runs_of(std::string_view bitmap, std::uint64_t sectors) {
    std::vector<Run> out;
    for (std::uint64_t sector = 0; sector < sectors; ++sector) {
        const auto byte = static_cast<unsigned char>(bitmap[sector / 8]);
        if ((byte & (0x80U >> (sector % 8))) == 0) continue;
        if (!out.empty() && out.back().first + out.back().count == sector) {
            ++out.back().count;
        } else {
            out.push_back({sector, 1});
        }
    }
    return out;
}

}  // namespace basalt::sm::vhd
