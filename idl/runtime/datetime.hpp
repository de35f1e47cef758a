#pragma once
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace basalt::xenapi {

/// A moment with a resolution of a second. Default: the epoch, which the API reads as "never".
struct DateTime {
    std::int64_t seconds = 0;  ///< since 1970, UTC
    bool zoneless = false;     ///< a host's local time of which nobody knows the zone

    /// `20200131T23:59:59Z`; without the `Z` when zoneless.
    [[nodiscard]] std::string text() const;
    /// With or without dashes in the date, fractions (dropped), `Z`, `+hh:mm`, `+hhmm` or no
    /// zone (which means UTC).
    static std::optional<DateTime> parse(std::string_view text);

    friend auto operator<=>(const DateTime&, const DateTime&) = default;
};

}  // namespace basalt::xenapi
