#include "xapi/rules/vcpu_params.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <ranges>
#include <string_view>

#include "idl/errors.hpp"

namespace basalt::rules {

namespace {

constexpr std::int64_t weight_max = 65535;
constexpr std::int64_t cap_max = 100 * 4096;
constexpr std::int64_t cpu_max = 4095;

std::optional<std::int64_t> number_in(std::string_view text, std::int64_t least,
                                      std::int64_t most) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    if (!whole || number < least || number > most) return std::nullopt;
    return number;
}

std::optional<std::vector<std::int64_t>> parse_mask(std::string_view text) {
    std::vector<std::int64_t> out;
    if (text.empty()) return std::nullopt;
    for (const auto part : std::views::split(text, ',')) {
        const std::string_view word(part.begin(), part.end());
        const auto dash = word.find('-');
        const auto first = number_in(word.substr(0, dash), 0, cpu_max);
        const auto last =
            dash == std::string_view::npos ? first : number_in(word.substr(dash + 1), 0, cpu_max);
        if (!first || !last || *last < *first) return std::nullopt;
        for (std::int64_t cpu = *first; cpu <= *last; ++cpu)
            out.push_back(cpu);
    }
    std::ranges::sort(out);
    const auto repeated = std::ranges::unique(out);
    out.erase(repeated.begin(), repeated.end());
    return out;
}

}  // namespace

void take_vcpu_param(VcpuParams& params, const std::string& key, const std::string& value) {
    bool understood = true;
    if (key == "weight") {
        const auto number = number_in(value, 1, weight_max);
        params.weight = number.value_or(0);
        understood = number.has_value();
    } else if (key == "cap") {
        const auto number = number_in(value, 0, cap_max);
        params.cap_percent = number.value_or(0);
        understood = number.has_value();
    } else if (key == "mask") {
        const auto mask = parse_mask(value);
        params.mask = mask.value_or(std::vector<std::int64_t>{});
        understood = mask.has_value();
    }
    if (!understood) throw err::invalid_value(key, value);
}

}  // namespace basalt::rules
