#include "xapi/rules/vm_ops.hpp"

#include <algorithm>
#include <array>

#include "idl/errors.hpp"
#include "idl/runtime/enum_text.hpp"

namespace basalt::rules {

namespace {

using Op = VmOperations;
using Bits = std::uint64_t;

constexpr std::uint8_t halted = 1U << static_cast<unsigned>(VmPowerState::halted);
constexpr std::uint8_t paused = 1U << static_cast<unsigned>(VmPowerState::paused);
constexpr std::uint8_t running = 1U << static_cast<unsigned>(VmPowerState::running);
constexpr std::uint8_t suspended = 1U << static_cast<unsigned>(VmPowerState::suspended);
constexpr std::uint8_t any_power = halted | paused | running | suspended;
constexpr std::uint8_t never = 0;

constexpr Bits bit(Op op) {
    return Bits{1} << static_cast<unsigned>(op);
}

template <class... Ops>
constexpr Bits bits(Ops... ops) {
    return (bit(ops) | ...);
}

// Where an operation is legal besides ordinary VMs.
constexpr std::uint8_t on_template = 1;      // any template
constexpr std::uint8_t on_own_template = 2;  // a template that is not a default one
constexpr std::uint8_t on_snapshot = 4;
constexpr std::uint8_t on_template_only = 8;  // nowhere else
constexpr std::uint8_t on_snapshot_only = 16;
constexpr std::uint8_t moves = 32;               // refused for immobile VMs, PCI, vGPU, VUSB
constexpr std::uint8_t unlisted = 64;            // legal, but never in allowed_operations
constexpr std::uint8_t on_control_domain = 128;  // legal for dom0 too

struct Rule {
    Op op;
    std::uint8_t from;  // legal power states
    Bits beside;        // operations that may run meanwhile
    std::uint8_t flags;
};

constexpr Bits copies = bits(Op::clone, Op::copy, Op::export_);
constexpr Bits snapshots = bits(Op::snapshot, Op::checkpoint);

// In the order of the enumeration, which makes the lookup an index.
constexpr std::array table = {
    Rule{Op::snapshot, any_power, snapshots, 0},
    Rule{Op::clone, halted, copies, on_template | on_snapshot},
    Rule{Op::copy, halted, copies, on_template | on_snapshot},
    Rule{Op::create_template, halted | suspended, 0, unlisted},
    Rule{Op::revert, any_power, 0, on_snapshot | on_snapshot_only},
    Rule{Op::checkpoint, paused | suspended | running, snapshots, 0},
    Rule{Op::snapshot_with_quiesce, running, 0, 0},
    Rule{Op::provision, halted, 0, on_template | on_template_only},
    Rule{Op::start, halted, 0, 0},
    Rule{Op::start_on, halted, 0, 0},
    Rule{Op::pause, running, 0, 0},
    Rule{Op::unpause, paused, 0, 0},
    Rule{Op::clean_shutdown, running, bit(Op::migrate_send), 0},
    Rule{Op::clean_reboot, running, bit(Op::migrate_send), 0},
    Rule{Op::hard_shutdown, paused | suspended | running, ~bit(Op::hard_shutdown), on_snapshot},
    Rule{Op::power_state_reset, any_power, 0, unlisted},
    Rule{Op::hard_reboot, paused | running, ~bits(Op::hard_shutdown, Op::hard_reboot), 0},
    Rule{Op::suspend, running, 0, 0},
    Rule{Op::csvm, suspended, 0, unlisted},
    Rule{Op::resume, suspended, 0, 0},
    Rule{Op::resume_on, suspended, 0, 0},
    Rule{Op::pool_migrate, running, 0, moves},
    Rule{Op::migrate_send, halted | suspended | running, 0, on_own_template | moves},
    Rule{Op::get_boot_record, paused | suspended | running, bit(Op::get_boot_record), unlisted},
    Rule{Op::send_sysrq, running, 0, unlisted},
    Rule{Op::send_trigger, running, 0, unlisted},
    Rule{Op::query_services, any_power, 0, unlisted},
    Rule{Op::shutdown, paused | suspended | running, 0, unlisted},
    Rule{Op::call_plugin, running, 0, unlisted},
    Rule{Op::changing_memory_live, running, 0, unlisted},
    Rule{Op::awaiting_memory_live, running, 0, unlisted},
    Rule{Op::changing_dynamic_range, halted | running, 0, on_template | on_control_domain},
    Rule{Op::changing_static_range, halted, 0, on_template | on_control_domain},
    Rule{Op::changing_memory_limits, halted, 0, on_template | on_control_domain | unlisted},
    Rule{Op::changing_shadow_memory, halted, 0, on_template},
    Rule{Op::changing_shadow_memory_live, running, 0, unlisted},
    Rule{Op::changing_vcpus, halted, 0, on_template | on_control_domain | unlisted},
    Rule{Op::changing_vcpus_live, running, 0, 0},
    Rule{Op::changing_nvram, halted, 0, on_template},
    Rule{Op::assert_operation_valid, any_power, 0, unlisted},
    Rule{Op::data_source_op, running, 0, unlisted | on_control_domain},
    Rule{Op::update_allowed_operations, any_power, 0, unlisted},
    Rule{Op::make_into_template, halted, 0, 0},
    Rule{Op::import, never, 0, unlisted},
    Rule{Op::export_, halted | suspended, copies, on_template | on_snapshot},
    Rule{Op::metadata_export, any_power, bit(Op::migrate_send),
         on_template | on_snapshot | on_control_domain},
    Rule{Op::reverting, any_power, 0, unlisted},
    Rule{Op::destroy, halted | suspended, 0, on_own_template | on_snapshot},
    Rule{Op::create_vtpm, halted, 0, 0},
    Rule{Op::sysprep, running, 0, 0},
};

constexpr bool in_order() {
    for (std::size_t i = 0; i < table.size(); ++i)
        if (static_cast<std::size_t>(table[i].op) != i) return false;
    return true;
}

static_assert(in_order());

std::string power_text(VmPowerState state) {
    constexpr std::array<const char*, 4> texts = {"halted", "paused", "running", "suspended"};
    return texts.at(static_cast<std::size_t>(state));
}

// "paused, suspended, running": the order that clients know from the real server.
std::string expected_text(std::uint8_t from) {
    std::string text;
    for (const VmPowerState state : {VmPowerState::halted, VmPowerState::paused,
                                     VmPowerState::suspended, VmPowerState::running}) {
        if ((from & 1U << static_cast<unsigned>(state)) == 0) continue;
        if (!text.empty()) text += ", ";
        text += power_text(state);
    }
    return text;
}

bool legal_power(const VmView& vm, const Rule& rule) {
    if ((rule.from & 1U << static_cast<unsigned>(vm.power_state)) != 0) return true;
    const bool copy_of_suspended = (rule.op == Op::clone || rule.op == Op::copy) &&
                                   vm.power_state == VmPowerState::suspended &&
                                   (vm.is_snapshot || vm.clone_suspended_allowed);
    const bool dom0_setting = vm.is_control_domain && (rule.flags & on_control_domain) != 0;
    return copy_of_suspended || dom0_setting;
}

std::optional<ApiError> why_not_beside(const VmView& vm, const Rule& rule) {
    for (const auto& [task, op] : vm.current)
        if ((rule.beside & bit(op)) == 0)
            return err::other_operation_in_progress("VM", vm.ref, xenapi::wire_text(op), task);
    return std::nullopt;
}

std::optional<ApiError> why_not_kind(const VmView& vm, const Rule& rule) {
    const std::string_view name = xenapi::wire_text(rule.op);
    const std::uint8_t template_bits =
        on_template | (vm.is_default_template ? 0U : on_own_template);
    if (vm.is_snapshot) {
        if ((rule.flags & on_snapshot) == 0) return err::vm_is_snapshot(vm.ref, name);
        return std::nullopt;
    }
    if ((rule.flags & on_snapshot_only) != 0) return err::revert_only_allowed_on_snapshot();
    if (vm.is_template) {
        if ((rule.flags & template_bits) == 0) return err::vm_is_template(vm.ref, name);
        return std::nullopt;
    }
    if ((rule.flags & on_template_only) != 0) return err::provision_only_allowed_on_template();
    return std::nullopt;
}

std::optional<ApiError> why_not_devices(const VmView& vm, const Rule& rule) {
    if ((rule.flags & moves) != 0 && vm.immobile) return err::vm_is_immobile(vm.ref);
    if (vm.is_control_domain && (rule.flags & on_control_domain) == 0)
        return err::operation_not_allowed("This operation is not allowed on the control domain");
    const bool keeps_memory =
        rule.op == Op::suspend || rule.op == Op::checkpoint ||
        ((rule.flags & moves) != 0 && vm.power_state == VmPowerState::running);
    if (keeps_memory && vm.resets_a_disk_on_boot)
        return err::vdi_on_boot_mode_incompatible_with_operation();
    if (keeps_memory && vm.has_pci) return err::vm_has_pci_attached(vm.ref);
    if (keeps_memory && vm.has_vgpu) return err::vm_has_vgpu(vm.ref);
    if (keeps_memory && vm.has_vusb) return err::vm_has_vusbs(vm.ref);
    return std::nullopt;
}

std::optional<ApiError> why_not_membership(const VmView& vm, const Rule& rule) {
    if (rule.op == Op::make_into_template && vm.in_appliance)
        return err::vm_is_part_of_an_appliance(vm.ref, "");
    if (rule.op == Op::make_into_template && vm.has_schedule)
        return err::vm_assigned_to_snapshot_schedule(vm.ref, "");
    if (rule.op == Op::create_vtpm && vm.vtpm_count > 0)
        return err::vtpm_max_amount_reached(vm.vtpm_count);
    return std::nullopt;
}

}  // namespace

std::optional<ApiError> why_not(const VmView& vm, VmOperations operation) {
    const Rule& rule = table.at(static_cast<std::size_t>(operation));
    if (const auto blocked = vm.blocked.find(operation); blocked != vm.blocked.end())
        return err::operation_blocked(vm.ref, blocked->second);
    if (!legal_power(vm, rule))
        return err::vm_bad_power_state(vm.ref, expected_text(rule.from),
                                       power_text(vm.power_state));
    if (auto error = why_not_beside(vm, rule)) return error;
    if (auto error = why_not_kind(vm, rule)) return error;
    if (auto error = why_not_devices(vm, rule)) return error;
    return why_not_membership(vm, rule);
}

std::vector<VmOperations> allowed_operations(const VmView& vm) {
    std::vector<VmOperations> allowed;
    for (const Rule& rule : table)
        if ((rule.flags & unlisted) == 0 && !why_not(vm, rule.op)) allowed.push_back(rule.op);
    return allowed;
}

std::string vm_ops_text() {
    std::string text;
    for (const Rule& rule : table) {
        text += std::string(xenapi::wire_text(rule.op)) + " | " + expected_text(rule.from) +
                " | beside:";
        for (const Rule& other : table)
            if ((rule.beside & bit(other.op)) != 0)
                text += " " + std::string(xenapi::wire_text(other.op));
        text += " | on:";
        if ((rule.flags & on_template) != 0) text += " templates";
        if ((rule.flags & on_own_template) != 0) text += " own-templates";
        if ((rule.flags & on_template_only) != 0) text += " only";
        if ((rule.flags & on_snapshot) != 0) text += " snapshots";
        if ((rule.flags & on_snapshot_only) != 0) text += " only";
        if ((rule.flags & on_control_domain) != 0) text += " dom0";
        if ((rule.flags & unlisted) != 0) text += " | unlisted";
        text += "\n";
    }
    return text;
}

}  // namespace basalt::rules
