#include "xapi/rules/schedule.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ranges>
#include <set>
#include <string_view>

#include "idl/errors.hpp"

namespace basalt::rules {

namespace {

constexpr std::int64_t minute_seconds = 60;
constexpr std::int64_t hour_seconds = 60 * minute_seconds;
constexpr std::int64_t day_seconds = 24 * hour_seconds;
// The first day of 1970 was a Thursday.
constexpr std::array<std::string_view, 7> days_from_epoch = {
    "thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"};

std::int64_t number_of(const std::map<std::string, std::string>& schedule, const char* key) {
    const auto found = schedule.find(key);
    std::int64_t number = 0;
    if (found != schedule.end())
        std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
    return number;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const auto first = out.find_first_not_of(' ');
    if (first == std::string::npos) return {};
    return out.substr(first, out.find_last_not_of(' ') - first + 1);
}

// By their place in `days_from_epoch`; nothing when a word is no day.
std::set<std::int64_t> days_of(const std::string& text) {
    std::set<std::int64_t> out;
    for (const auto part : std::views::split(text, ',')) {
        const auto found =
            std::ranges::find(days_from_epoch, lower(std::string_view(part.begin(), part.end())));
        if (found == days_from_epoch.end()) return {};
        out.insert(found - days_from_epoch.begin());
    }
    return out;
}

bool is_number_in(const std::string& text, std::int64_t least, std::int64_t most) {
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() && number >= least &&
           number <= most;
}

std::int64_t floor_to(std::int64_t value, std::int64_t unit) {
    const std::int64_t rest = value % unit;
    return value - (rest < 0 ? rest + unit : rest);
}

}  // namespace

void require_schedule_entry(const std::string& key, const std::string& value) {
    constexpr std::array<std::string_view, 4> quarters = {"0", "15", "30", "45"};
    bool fits = false;
    if (key == "min") fits = std::ranges::contains(quarters, value);
    if (key == "hour") fits = is_number_in(value, 0, 23);
    if (key == "days") fits = !days_of(value).empty();
    if (!fits) throw err::invalid_value(key, value);
}

std::int64_t latest_due(xenapi::VmssFrequency frequency,
                        const std::map<std::string, std::string>& schedule, std::int64_t now) {
    const std::int64_t minute = number_of(schedule, "min") * minute_seconds;
    if (frequency == xenapi::VmssFrequency::hourly)
        return floor_to(now - minute, hour_seconds) + minute;
    const std::int64_t time = number_of(schedule, "hour") * hour_seconds + minute;
    std::int64_t due = floor_to(now - time, day_seconds) + time;
    if (frequency == xenapi::VmssFrequency::daily) return due;
    const auto found = schedule.find("days");
    std::set<std::int64_t> days =
        found == schedule.end() ? std::set<std::int64_t>{} : days_of(found->second);
    if (days.empty()) days = days_of("monday");
    while (!days.contains(floor_to(due, day_seconds) / day_seconds % 7))
        due -= day_seconds;
    return due;
}

}  // namespace basalt::rules
