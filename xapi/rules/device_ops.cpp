#include "xapi/rules/device_ops.hpp"

#include <array>

#include "idl/errors.hpp"
#include "idl/runtime/enum_text.hpp"

namespace basalt::rules {

namespace {

using xenapi::VbdMode;
using xenapi::VbdOperations;
using xenapi::VbdType;
using xenapi::VifOperations;
using xenapi::VmPowerState;

std::optional<ApiError> need_running(const DeviceVmView& vm) {
    if (vm.power_state == VmPowerState::running) return std::nullopt;
    return err::vm_bad_power_state(vm.ref, power_state_text(VmPowerState::running),
                                   power_state_text(vm.power_state));
}

std::optional<ApiError> why_not_use_disk(const VbdView& vbd) {
    if (vbd.vdi.empty()) return std::nullopt;
    if (vbd.vdi_busy_elsewhere)
        return err::vdi_in_use(vbd.vdi, xenapi::wire_text(VbdOperations::attach));
    if (vbd.vdi_read_only && vbd.mode == VbdMode::rw) return err::vdi_readonly(vbd.vdi);
    return std::nullopt;
}

std::optional<ApiError> why_not_medium(const VbdView& vbd, VbdOperations operation) {
    if (vbd.type != VbdType::cd) return err::vbd_not_removable_media(vbd.ref);
    if (operation == VbdOperations::insert && !vbd.empty) return err::vbd_not_empty(vbd.ref);
    if (operation == VbdOperations::eject && vbd.empty) return err::vbd_is_empty(vbd.ref);
    if (vbd.vm.power_state == VmPowerState::suspended)
        return err::vm_bad_power_state(vbd.vm.ref, "halted, paused, running",
                                       power_state_text(vbd.vm.power_state));
    return std::nullopt;
}

std::optional<ApiError> why_not_hotplug(const VbdView& vbd, VbdOperations operation) {
    if (vbd.vm.is_control_domain) return std::nullopt;
    if (auto error = need_running(vbd.vm)) return error;
    if (vbd.vm.ending_or_pausing)
        return err::operation_not_allowed("The VM is being shut down, suspended or paused");
    const bool plug = operation == VbdOperations::plug;
    if (plug && vbd.attached) return err::device_already_attached(vbd.ref);
    if (!plug && !vbd.attached) return err::device_already_detached(vbd.ref);
    if (operation == VbdOperations::unplug && !vbd.unpluggable)
        return err::vbd_not_unpluggable(vbd.ref);
    if (vbd.type == VbdType::cd)
        return err::operation_not_allowed(
            "VBDs of type CD cannot be plugged or unplugged: use insert and eject");
    return std::nullopt;
}

}  // namespace

std::string power_state_text(VmPowerState state) {
    constexpr std::array<const char*, 4> texts = {"halted", "paused", "running", "suspended"};
    return texts.at(static_cast<std::size_t>(state));
}

std::optional<ApiError> why_not(const VbdView& vbd, VbdOperations operation) {
    for (const auto& [task, op] : vbd.current) {
        const bool pausing =
            (op == VbdOperations::pause || op == VbdOperations::unpause) &&
            (operation == VbdOperations::pause || operation == VbdOperations::unpause);
        if (!pausing)
            return err::other_operation_in_progress("VBD", vbd.ref, xenapi::wire_text(op), task);
    }
    switch (operation) {
        case VbdOperations::attach:
            return why_not_use_disk(vbd);
        case VbdOperations::insert:
        case VbdOperations::eject:
            return why_not_medium(vbd, operation);
        case VbdOperations::plug:
            if (auto error = why_not_hotplug(vbd, operation)) return error;
            return why_not_use_disk(vbd);
        case VbdOperations::unplug:
        case VbdOperations::unplug_force:
            return why_not_hotplug(vbd, operation);
        case VbdOperations::pause:
        case VbdOperations::unpause:
            if (vbd.vm.power_state != VmPowerState::running &&
                vbd.vm.power_state != VmPowerState::paused)
                return err::vm_bad_power_state(vbd.vm.ref, "paused, running",
                                               power_state_text(vbd.vm.power_state));
            return std::nullopt;
    }
    return std::nullopt;
}

std::vector<VbdOperations> allowed_operations(const VbdView& vbd) {
    std::vector<VbdOperations> allowed;
    for (std::size_t i = 0; i < xenapi::EnumTraits<VbdOperations>::texts.size(); ++i)
        if (const auto op = static_cast<VbdOperations>(i); !why_not(vbd, op)) allowed.push_back(op);
    return allowed;
}

std::optional<ApiError> why_not(const VifView& vif, VifOperations operation) {
    if (!vif.current.empty())
        return err::other_operation_in_progress("VIF", vif.ref,
                                                xenapi::wire_text(vif.current.begin()->second),
                                                vif.current.begin()->first);
    if (operation == VifOperations::attach) return std::nullopt;
    if (vif.vm.is_control_domain)
        return err::operation_not_allowed(
            "A VIF of the control domain cannot be plugged or unplugged");
    if (vif.is_function)
        return err::operation_not_allowed(
            "A VIF that is a function of a card cannot be plugged or unplugged");
    if (auto error = need_running(vif.vm)) return error;
    if (operation == VifOperations::plug && vif.attached)
        return err::device_already_attached(vif.ref);
    if (operation == VifOperations::unplug && !vif.attached)
        return err::device_already_detached(vif.ref);
    return std::nullopt;
}

std::vector<VifOperations> allowed_operations(const VifView& vif) {
    std::vector<VifOperations> allowed;
    for (std::size_t i = 0; i < xenapi::EnumTraits<VifOperations>::texts.size(); ++i)
        if (const auto op = static_cast<VifOperations>(i); !why_not(vif, op)) allowed.push_back(op);
    return allowed;
}

}  // namespace basalt::rules
