#pragma once
#include <span>
#include <string>

namespace basalt::core {

/// A part of the bundle of a host's state (/system-status). The host packs it by the same key:
/// host-agent/machine/host_control.py.
struct StatusPart {
    const char* key;
    const char* mime;      // of what is in it
    const char* personal;  // yes, no, maybe: whether it may name persons
    bool checked;          // taken unless somebody chooses
    std::int64_t bytes_max;
    std::int64_t seconds_max;
};

std::span<const StatusPart> status_parts();
/// As clients read it: system-status-capabilities with a capability each.
std::string system_status_capabilities();

}  // namespace basalt::core
