#pragma once
#include <cstdint>
#include <string>

namespace basalt::agent {

struct ClockFacts {
    bool synchronised = false;
    std::int64_t error_us_max = 0;  // how far off the kernel thinks it may be
    std::string timezone;           // as Europe/Zurich
};

/// The state of this host's clock; never blocks for long.
ClockFacts read_clock(const std::string& sysroot = {});

}  // namespace basalt::agent
