#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "idl/enums.hpp"

/// What may be done with an appliance, and in which order its VMs come. Pure.
namespace basalt::rules {

struct ApplianceView {
    std::string ref;
    bool some_halted = false;  // VMs of it that could be started
    bool some_live = false;    // running or paused ones
    bool some_sleep = false;
    std::map<std::string, xenapi::VmApplianceOperation> current;  // task -> operation
};

/// One operation at a time (OTHER_OPERATION_IN_PROGRESS). What is asked of an appliance whose VMs
/// are all there already does nothing, so nothing else is refused.
std::optional<ApiError> why_not(const ApplianceView& appliance,
                                xenapi::VmApplianceOperation operation);
/// Those that would do something now.
std::vector<xenapi::VmApplianceOperation> allowed_operations(const ApplianceView& appliance);

struct Member {
    std::string vm;
    std::int64_t order = 0;
    std::int64_t start_delay_seconds = 0;
    std::int64_t shutdown_delay_seconds = 0;
};

/// Members that are started or stopped at once, and how long to wait before the next do.
struct Wave {
    std::vector<std::string> vms;
    std::int64_t delay_seconds = 0;
    bool operator==(const Wave&) const = default;
};

/// By rising order; the longest of a wave's delays counts, none after the last.
std::vector<Wave> start_waves(std::vector<Member> members);
/// By falling order.
std::vector<Wave> shutdown_waves(std::vector<Member> members);

}  // namespace basalt::rules
