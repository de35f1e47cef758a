#include "storage-manager/datapath/changes.hpp"

#include <algorithm>
#include <format>

#include "base/json.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

Layers layers_above_common(const Attachment& one, const Attachment& other) {
    for (std::size_t i = 0; i < one.chain.size(); ++i)
        for (std::size_t j = 0; j < other.chain.size(); ++j)
            if (one.chain[i].path == other.chain[j].path) return {i, j};
    return {one.chain.size(), other.chain.size()};
}

namespace {

template <class Wanted>
std::vector<Extent> chosen(const Json& map, Wanted wanted) {
    if (!map.is_array()) throw err::vdi_io_error("the image's map cannot be read");
    std::vector<Extent> out;
    for (const Json& entry : map)
        if (wanted(entry))
            out.push_back(
                {entry.at("start").get<std::uint64_t>(), entry.at("length").get<std::uint64_t>()});
    return out;
}

}  // namespace

std::vector<Extent> held_above(const Json& map, std::size_t layers) {
    // An entry that no image of the chain holds has the lowest depth and `present` false.
    return chosen(map, [layers](const Json& entry) {
        return entry.value("present", true) && entry.at("depth").get<std::size_t>() < layers;
    });
}

std::vector<Extent> data_in(const Json& map) {
    return chosen(map, [](const Json& entry) {
        return entry.at("data").get<bool>() && !entry.at("zero").get<bool>();
    });
}

std::vector<Extent> joined(std::vector<Extent> one, const std::vector<Extent>& other,
                           std::uint64_t size_bytes) {
    one.insert(one.end(), other.begin(), other.end());
    std::ranges::sort(one, {}, &Extent::offset);
    std::vector<Extent> out;
    for (Extent next : one) {
        if (next.offset >= size_bytes) break;
        next.length = std::min(next.length, size_bytes - next.offset);
        if (out.empty() || out.back().offset + out.back().length < next.offset) {
            out.push_back(next);
            continue;
        }
        Extent& last = out.back();
        last.length = std::max(last.length, next.offset + next.length - last.offset);
    }
    return out;
}

std::string block_bits(const std::vector<Extent>& extents, std::uint64_t offset,
                       std::uint64_t length) {
    constexpr std::uint64_t block_bytes = 65536;
    constexpr std::string_view digits = "0123456789abcdef";
    const std::uint64_t blocks = (length + block_bytes - 1) / block_bytes;
    std::vector<unsigned char> bits((blocks + 7) / 8);
    for (const Extent& extent : extents) {
        const std::uint64_t first = std::max(extent.offset, offset);
        const std::uint64_t end = std::min(extent.offset + extent.length, offset + length);
        for (std::uint64_t block = (first - offset) / block_bytes;
             first < end && block * block_bytes < end - offset; ++block)
            bits[block / 8] = static_cast<unsigned char>(bits[block / 8] | (0x80U >> (block % 8)));
    }
    std::string out;
    for (const unsigned char byte : bits)
        out += {digits[byte >> 4U], digits[byte & 15U]};
    return out;
}

std::string extent_lines(const std::vector<Extent>& extents) {
    std::string out;
    for (const Extent& extent : extents)
        out += std::format("{} {}\n", extent.offset, extent.length);
    return out;
}

}  // namespace basalt::sm
