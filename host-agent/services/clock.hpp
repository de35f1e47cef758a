#pragma once
#include <cstdint>
#include <string>

namespace basalt::agent {

struct ClockFacts {
    bool synchronised = false;
    std::int64_t error_us_max = 0;  // how far off the kernel thinks it may be
    std::string timezone;           // as Europe/Zurich
};

/// Seconds that the host's local time is ahead of UTC at that moment (seconds since 1970), by the
/// zone of /etc/localtime, which is looked at anew each time. Blocks on a file.
std::int64_t utc_offset_seconds(std::int64_t at);

/// The state of this host's clock; never blocks for long.
ClockFacts read_clock(const std::string& sysroot = {});

}  // namespace basalt::agent
