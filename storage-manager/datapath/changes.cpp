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

std::vector<Extent> held_above(const Json& map, std::size_t layers) {
    if (!map.is_array()) throw err::vdi_io_error("the image's map cannot be read");
    std::vector<Extent> out;
    for (const Json& entry : map) {
        // An entry that no image of the chain holds has the lowest depth and `present` false.
        if (!entry.value("present", true) || entry.at("depth").get<std::size_t>() >= layers)
            continue;
        out.push_back(
            {entry.at("start").get<std::uint64_t>(), entry.at("length").get<std::uint64_t>()});
    }
    return out;
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

std::string extent_lines(const std::vector<Extent>& extents) {
    std::string out;
    for (const Extent& extent : extents)
        out += std::format("{} {}\n", extent.offset, extent.length);
    return out;
}

}  // namespace basalt::sm
