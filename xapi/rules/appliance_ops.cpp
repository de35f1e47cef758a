#include "xapi/rules/appliance_ops.hpp"

#include <algorithm>

#include "idl/errors.hpp"
#include "idl/runtime/enum_text.hpp"

namespace basalt::rules {

namespace {

using Op = xenapi::VmApplianceOperation;

// Of members that are sorted already.
std::vector<Wave> waves_of(const std::vector<Member>& members,
                           std::int64_t Member::* delay_seconds) {
    std::vector<Wave> waves;
    const Member* previous = nullptr;
    for (const Member& member : members) {
        if (previous == nullptr || previous->order != member.order) waves.emplace_back();
        waves.back().vms.push_back(member.vm);
        waves.back().delay_seconds = std::max(waves.back().delay_seconds, member.*delay_seconds);
        previous = &member;
    }
    if (!waves.empty()) waves.back().delay_seconds = 0;
    return waves;
}

}  // namespace

std::optional<ApiError> why_not(const ApplianceView& appliance, Op) {
    if (appliance.current.empty()) return std::nullopt;
    const auto& [task, running] = *appliance.current.begin();
    return err::other_operation_in_progress("VM_appliance", appliance.ref,
                                            xenapi::wire_text(running), task);
}

std::vector<Op> allowed_operations(const ApplianceView& appliance) {
    std::vector<Op> allowed;
    if (!appliance.current.empty()) return allowed;
    if (appliance.some_halted) allowed.push_back(Op::start);
    if (appliance.some_live) allowed.push_back(Op::clean_shutdown);
    if (appliance.some_live || appliance.some_sleep) {
        allowed.push_back(Op::hard_shutdown);
        allowed.push_back(Op::shutdown);
    }
    return allowed;
}

std::vector<Wave> start_waves(std::vector<Member> members) {
    std::ranges::stable_sort(members, {}, &Member::order);
    return waves_of(members, &Member::start_delay_seconds);
}

std::vector<Wave> shutdown_waves(std::vector<Member> members) {
    std::ranges::stable_sort(members, std::ranges::greater{}, &Member::order);
    return waves_of(members, &Member::shutdown_delay_seconds);
}

}  // namespace basalt::rules
