#include <algorithm>

#include "xapi/db/store/store.hpp"

namespace basalt::db {

std::uint64_t next_epoch(std::uint64_t old, std::int64_t wall_s) {
    constexpr std::int64_t start_of_2026_s = 1767225600;
    const std::int64_t hours = (wall_s - start_of_2026_s) / 3600;
    return std::max(old + 1, hours > 0 ? static_cast<std::uint64_t>(hours) : 0);
}

}  // namespace basalt::db
