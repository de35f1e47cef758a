#include "xapi/core/limits.hpp"

namespace basalt {

Limits::Limits() {
    for (const LimitInfo& info : limit_table)
        values_[index(info.limit)] = info.value;
}

std::string Limits::text() const {
    std::string out;
    const auto line = [&out](std::string_view family, const LimitInfo& info, std::uint64_t value) {
        out += family;
        out += "{limit=\"";
        out += info.name;
        out += "\",unit=\"";
        out += info.unit;
        out += "\"} " + std::to_string(value) + "\n";
    };
    out += "# TYPE xapi_limit gauge\n";
    for (const LimitInfo& info : limit_table)
        line("xapi_limit", info, max(info.limit));
    out += "# TYPE xapi_limit_in_use gauge\n";
    for (const LimitInfo& info : limit_table)
        if (const auto& in_use = in_use_[index(info.limit)])
            line("xapi_limit_in_use", info, in_use());
    out += "# TYPE xapi_limit_exceeded_total counter\n";
    for (const LimitInfo& info : limit_table)
        line("xapi_limit_exceeded_total", info, times_exceeded(info.limit));
    return out;
}

}  // namespace basalt
