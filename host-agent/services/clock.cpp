#include "host-agent/services/clock.hpp"

#include <sys/timex.h>

#include <ctime>
#include <filesystem>
#include <system_error>

namespace basalt::agent {

std::int64_t utc_offset_seconds(std::int64_t at) {
    tzset();
    const std::time_t seconds = at;
    std::tm local{};
    return localtime_r(&seconds, &local) == nullptr ? 0 : local.tm_gmtoff;
}

ClockFacts read_clock(const std::string& sysroot) {
    ClockFacts facts;
    timex state{};
    const int answer = adjtimex(&state);
    facts.synchronised = answer >= 0 && answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
    facts.error_us_max = state.maxerror;
    std::error_code absent;
    const auto zone = std::filesystem::read_symlink(sysroot + "/etc/localtime", absent).string();
    constexpr std::string_view folder = "zoneinfo/";
    const std::size_t at = zone.find(folder);
    facts.timezone =
        absent || at == std::string::npos ? "Etc/UTC" : zone.substr(at + folder.size());
    return facts;
}

}  // namespace basalt::agent
