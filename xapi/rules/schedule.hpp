#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "idl/enums.hpp"

/// When a snapshot schedule is due. Pure.
namespace basalt::rules {

/// Throws INVALID_VALUE [key, value] unless the key is one of the three and its value fits:
/// `min` 0, 15, 30 or 45; `hour` 0 to 23; `days` a comma list of Monday ... Sunday.
void require_schedule_entry(const std::string& key, const std::string& value);

/// The latest moment at or before `now` at which the schedule says to run: every hour at `min`,
/// every day at `hour:min`, or at `hour:min` of each of `days`. Seconds since 1970 by the host's
/// local clock, as `now`. Keys that are absent count as 0, and as Monday.
std::int64_t latest_due(xenapi::VmssFrequency frequency,
                        const std::map<std::string, std::string>& schedule, std::int64_t now);

}  // namespace basalt::rules
