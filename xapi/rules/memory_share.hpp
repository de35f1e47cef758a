#pragma once
#include <cstdint>
#include <vector>

/// How guests share the memory of a host. Pure.
namespace basalt::rules {

/// What one guest may be given, in bytes. One that cannot be moved has `least` = `most`.
struct MemoryClaim {
    std::int64_t least = 0;
    std::int64_t most = 0;
};

/// What each claim gets of `available` bytes, in whole MiB above its least. Every guest gets its
/// least and the same fraction of what lies between its least and its most: all of it when that
/// fits, nothing when not even the leasts do.
std::vector<std::int64_t> share_memory(const std::vector<MemoryClaim>& claims,
                                       std::int64_t available);

/// Whether a guest that has `actual` bytes counts as having obeyed a target: balloons move in
/// steps.
[[nodiscard]] bool has_reached(std::int64_t actual, std::int64_t target);

}  // namespace basalt::rules
