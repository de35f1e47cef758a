#include "xapi/rules/memory_share.hpp"

#include <algorithm>

namespace basalt::rules {

namespace {

constexpr std::int64_t mib = 1024 * 1024;
constexpr std::int64_t step_bytes = 4 * mib;

}  // namespace

std::vector<std::int64_t> share_memory(const std::vector<MemoryClaim>& claims,
                                       std::int64_t available) {
    std::int64_t least = 0;
    std::int64_t spread = 0;
    for (const MemoryClaim& claim : claims) {
        least += claim.least;
        spread += std::max<std::int64_t>(0, claim.most - claim.least);
    }
    const std::int64_t rest = std::max<std::int64_t>(0, available - least);
    std::vector<std::int64_t> shares;
    for (const MemoryClaim& claim : claims) {
        const std::int64_t more = std::max<std::int64_t>(0, claim.most - claim.least);
        if (rest >= spread) {
            shares.push_back(claim.least + more);
            continue;
        }
        const double fraction = static_cast<double>(rest) / static_cast<double>(spread);
        const auto given = static_cast<std::int64_t>(static_cast<double>(more) * fraction);
        shares.push_back(claim.least + given / mib * mib);
    }
    return shares;
}

bool has_reached(std::int64_t actual, std::int64_t target) {
    return actual - target <= std::max(step_bytes, target / 100);
}

}  // namespace basalt::rules
