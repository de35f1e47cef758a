#include "storage-manager/drivers/file/qcow2.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/fd.hpp"

namespace basalt::sm::qcow2 {

namespace {

constexpr std::uint32_t magic = 0x514649fb;  // "QFI" and a byte
constexpr std::size_t header_bytes = 104;    // of version 3; version 2 has 72
constexpr std::uint32_t backing_name_bytes_max = 1023;
constexpr std::uint32_t l1_entries_max = 4 * 1024 * 1024;

template <class T>
T big_endian(const unsigned char* bytes) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>(value << 8U | bytes[i]);
    return value;
}

bool read_at(int fd, void* out, std::size_t size, std::uint64_t offset) {
    return pread(fd, out, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

UniqueFd open_plain(const std::filesystem::path& image) {
    UniqueFd fd(::open(image.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat facts{};
    if (!fd || fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return UniqueFd();
    return fd;
}

}  // namespace

std::optional<Header> read_header(const std::filesystem::path& image) {
    const UniqueFd fd = open_plain(image);
    std::array<unsigned char, header_bytes> raw{};
    if (!fd || !read_at(fd.get(), raw.data(), 72, 0)) return std::nullopt;
    const auto version = big_endian<std::uint32_t>(&raw[4]);
    if (big_endian<std::uint32_t>(raw.data()) != magic || version < 2 || version > 3)
        return std::nullopt;
    if (version == 3 && !read_at(fd.get(), raw.data(), header_bytes, 0)) return std::nullopt;

    Header header;
    header.virtual_bytes = big_endian<std::int64_t>(&raw[24]);
    header.l1_entries = big_endian<std::uint32_t>(&raw[36]);
    header.l1_offset = big_endian<std::uint64_t>(&raw[40]);
    header.has_internal_snapshots = big_endian<std::uint32_t>(&raw[60]) != 0;
    const auto incompatible = version == 3 ? big_endian<std::uint64_t>(&raw[72]) : 0;
    header.corrupt = (incompatible & 2U) != 0;
    header.external_data = (incompatible & 4U) != 0;
    const auto name_offset = big_endian<std::uint64_t>(&raw[8]);
    const auto name_bytes = big_endian<std::uint32_t>(&raw[16]);
    if (header.virtual_bytes < 0 || name_bytes > backing_name_bytes_max ||
        header.l1_entries > l1_entries_max)
        return std::nullopt;
    if (name_offset != 0) {
        header.backing_file.resize(name_bytes);
        if (!read_at(fd.get(), header.backing_file.data(), name_bytes, name_offset))
            return std::nullopt;
    }
    return header;
}

bool holds_nothing(const std::filesystem::path& image, const Header& header) {
    if (header.has_internal_snapshots) return false;
    const UniqueFd fd = open_plain(image);
    std::vector<char> table(std::size_t{header.l1_entries} * 8);
    return fd && read_at(fd.get(), table.data(), table.size(), header.l1_offset) &&
           std::ranges::all_of(table, [](char c) { return c == 0; });
}

}  // namespace basalt::sm::qcow2
