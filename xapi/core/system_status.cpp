#include "xapi/core/system_status.hpp"

#include <array>
#include <format>

namespace basalt::core {

namespace {

constexpr std::int64_t mib = 1024 * 1024;

constexpr auto parts = std::to_array<StatusPart>({
    {"boot-loader", "application/data", "no", true, 1 * mib, 5},
    {"disk-info", "application/data", "maybe", true, 4 * mib, 20},
    {"hardware-info", "application/data", "maybe", true, 4 * mib, 20},
    {"kernel-info", "application/data", "no", true, 4 * mib, 5},
    {"network-config", "application/data", "if_customized", true, 1 * mib, 5},
    {"network-status", "application/data", "yes", true, 8 * mib, 30},
    {"process-list", "application/data", "yes", true, 2 * mib, 10},
    {"system-logs", "application/data", "maybe", true, 64 * mib, 30},
    {"system-services", "text/plain", "no", true, 1 * mib, 10},
    {"xenserver-config", "application/data", "maybe", true, 1 * mib, 5},
    {"xenserver-logs", "application/data", "maybe", true, 64 * mib, 30},
});

}  // namespace

std::span<const StatusPart> status_parts() {
    return parts;
}

std::string system_status_capabilities() {
    std::string out = "<?xml version=\"1.0\" ?><system-status-capabilities>";
    for (const StatusPart& part : parts)
        out += std::format(
            R"(<capability content-type="{}" default-checked="{}" key="{}" max-size="{}" )"
            R"(max-time="{}" min-size="0" min-time="0" pii="{}"/>)",
            part.mime, part.checked ? "yes" : "no", part.key, part.bytes_max, part.seconds_max,
            part.personal);
    return out + "</system-status-capabilities>";
}

}  // namespace basalt::core
