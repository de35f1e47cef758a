#include "idl/runtime/datetime.hpp"

#include <array>
#include <chrono>
#include <cstdio>

namespace basalt::xenapi {

namespace {

/// Reads a fixed-width text from the left.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : text_(text) {}

    [[nodiscard]] std::optional<int> digits(std::size_t count) {
        if (text_.size() < count) return std::nullopt;
        int value = 0;
        for (const char c : text_.substr(0, count)) {
            if (c < '0' || c > '9') return std::nullopt;
            value = value * 10 + (c - '0');
        }
        text_.remove_prefix(count);
        return value;
    }

    bool skip(char c) {
        if (text_.empty() || text_.front() != c) return false;
        text_.remove_prefix(1);
        return true;
    }

    void skip_fraction() {
        if (!skip('.')) return;
        while (!text_.empty() && text_.front() >= '0' && text_.front() <= '9')
            text_.remove_prefix(1);
    }

    [[nodiscard]] bool done() const { return text_.empty(); }

  private:
    std::string_view text_;
};

/// Offset in seconds east of UTC; nullopt: malformed.
std::optional<std::int64_t> zone(Scanner& scan) {
    if (scan.done() || scan.skip('Z') || scan.skip('z')) return 0;
    const bool west = scan.skip('-');
    if (!west && !scan.skip('+')) return std::nullopt;
    const auto hours = scan.digits(2);
    scan.skip(':');
    const auto minutes = scan.done() ? std::optional<int>{0} : scan.digits(2);
    if (!hours || !minutes) return std::nullopt;
    const std::int64_t offset = *hours * 3600 + *minutes * 60;
    return west ? -offset : offset;
}

}  // namespace

std::string DateTime::text() const {
    std::array<char, 48> buffer;
    using namespace std::chrono;
    const sys_seconds moment{std::chrono::seconds{seconds}};
    const auto day = floor<days>(moment);
    const year_month_day date{day};
    const hh_mm_ss time{moment - day};
    const int year_number = static_cast<int>(date.year());
    char* out = buffer.data();
    const auto two = [&out](std::int64_t number) {
        *out++ = static_cast<char>('0' + number / 10);
        *out++ = static_cast<char>('0' + number % 10);
    };
    if (year_number >= 0 && year_number <= 9999) {
        two(year_number / 100);
        two(year_number % 100);
    } else {
        out += std::snprintf(out, buffer.size(), "%04d", year_number);
    }
    two(static_cast<unsigned>(date.month()));
    two(static_cast<unsigned>(date.day()));
    *out++ = 'T';
    two(time.hours().count());
    *out++ = ':';
    two(time.minutes().count());
    *out++ = ':';
    two(time.seconds().count());
    if (!zoneless) *out++ = 'Z';
    return {buffer.data(), static_cast<std::size_t>(out - buffer.data())};
}

std::optional<DateTime> DateTime::parse(std::string_view text) {
    using namespace std::chrono;
    Scanner scan{text};
    const auto year_number = scan.digits(4);
    scan.skip('-');
    const auto month_number = scan.digits(2);
    scan.skip('-');
    const auto day_number = scan.digits(2);
    if (!year_number || !month_number || !day_number) return std::nullopt;
    if (!scan.skip('T') && !scan.skip('t') && !scan.skip(' ')) return std::nullopt;
    const auto hour = scan.digits(2);
    scan.skip(':');
    const auto minute = scan.digits(2);
    scan.skip(':');
    const auto second = scan.digits(2);
    if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 60) {
        return std::nullopt;
    }
    scan.skip_fraction();
    const auto offset = zone(scan);
    const year_month_day date{year{*year_number}, month{static_cast<unsigned>(*month_number)},
                              day{static_cast<unsigned>(*day_number)}};
    if (!offset || !scan.done() || !date.ok()) return std::nullopt;
    const auto since = sys_days{date}.time_since_epoch();
    return DateTime{.seconds = duration_cast<std::chrono::seconds>(since).count() + *hour * 3600 +
                               *minute * 60 + *second - *offset};
}

}  // namespace basalt::xenapi
