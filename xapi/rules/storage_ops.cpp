#include "xapi/rules/storage_ops.hpp"

#include <array>

#include "idl/errors.hpp"
#include "idl/runtime/enum_text.hpp"

namespace basalt::rules {

namespace {

using xenapi::StorageOperations;
using xenapi::VdiOperations;
using xenapi::VdiType;

template <class Op>
struct Need {
    Op op;
    const char* feature;  // the driver must have it; null: none needed
};

constexpr std::array sr_needs = {
    Need{StorageOperations::vdi_create, "VDI_CREATE"},
    Need{StorageOperations::vdi_introduce, "VDI_INTRODUCE"},
    Need{StorageOperations::vdi_destroy, "VDI_DELETE"},
    Need{StorageOperations::vdi_resize, "VDI_RESIZE"},
    Need{StorageOperations::vdi_resize_online, "VDI_RESIZE_ONLINE"},
    Need{StorageOperations::vdi_clone, "VDI_CLONE"},
    Need{StorageOperations::vdi_snapshot, "VDI_SNAPSHOT"},
    Need{StorageOperations::vdi_mirror, "VDI_MIRROR"},
    Need{StorageOperations::vdi_enable_cbt, "VDI_CONFIG_CBT"},
    Need{StorageOperations::vdi_disable_cbt, "VDI_CONFIG_CBT"},
    Need{StorageOperations::vdi_data_destroy, "VDI_CONFIG_CBT"},
    Need{StorageOperations::vdi_list_changed_blocks, "VDI_CONFIG_CBT"},
    Need{StorageOperations::vdi_set_on_boot, "VDI_RESET_ON_BOOT"},
    Need{StorageOperations::vdi_update, "VDI_UPDATE"},
    Need{StorageOperations::vdi_generate_config, "VDI_GENERATE_CONFIG"},
    Need{StorageOperations::vdi_revert, "VDI_REVERT"},
    Need{StorageOperations::update, "SR_UPDATE"},
};

constexpr std::array vdi_needs = {
    Need{VdiOperations::snapshot, "VDI_SNAPSHOT"},
    Need{VdiOperations::clone, "VDI_CLONE"},
    Need{VdiOperations::destroy, "VDI_DELETE"},
    Need{VdiOperations::resize, "VDI_RESIZE"},
    Need{VdiOperations::resize_online, "VDI_RESIZE_ONLINE"},
    Need{VdiOperations::mirror, "VDI_MIRROR"},
    Need{VdiOperations::enable_cbt, "VDI_CONFIG_CBT"},
    Need{VdiOperations::disable_cbt, "VDI_CONFIG_CBT"},
    Need{VdiOperations::data_destroy, "VDI_CONFIG_CBT"},
    Need{VdiOperations::list_changed_blocks, "VDI_CONFIG_CBT"},
    Need{VdiOperations::set_on_boot, "VDI_RESET_ON_BOOT"},
    Need{VdiOperations::update, "VDI_UPDATE"},
    Need{VdiOperations::generate_config, "VDI_GENERATE_CONFIG"},
    Need{VdiOperations::revert_to, "VDI_REVERT"},
    Need{VdiOperations::revert_from, "VDI_REVERT"},
};

template <class Op, std::size_t n>
bool lacks_feature(const std::array<Need<Op>, n>& needs, Op op,
                   const std::set<std::string>& features) {
    for (const Need<Op>& need : needs)
        if (need.op == op) return !features.contains(need.feature);
    return false;
}

// Operations that the disk's users may go on through.
bool tolerates_users(VdiOperations op) {
    switch (op) {
        case VdiOperations::snapshot:
        case VdiOperations::clone:
        case VdiOperations::resize_online:
        case VdiOperations::mirror:
        case VdiOperations::enable_cbt:
        case VdiOperations::disable_cbt:
        case VdiOperations::data_destroy:
        case VdiOperations::blocked:
        case VdiOperations::revert_to:
            return true;
        default:
            return false;
    }
}

bool is_copyable_state(const VdiView& vdi) {
    return !vdi.reset_on_boot;
}

std::optional<ApiError> why_not_users(const VdiView& vdi, VdiOperations op) {
    const std::string_view name = xenapi::wire_text(op);
    if (op == VdiOperations::copy)
        return vdi.attached_for_writing ? std::optional(err::vdi_in_use(vdi.ref, name))
                                        : std::nullopt;
    if (op == VdiOperations::destroy && vdi.type == VdiType::redo_log && vdi.attached)
        return err::redo_log_is_enabled();
    if (vdi.attached && !tolerates_users(op)) return err::vdi_in_use(vdi.ref, name);
    return std::nullopt;
}

// What is left of a snapshot whose data were given up.
bool suits_metadata(VdiOperations op) {
    return op == VdiOperations::destroy || op == VdiOperations::forget ||
           op == VdiOperations::list_changed_blocks || op == VdiOperations::data_destroy;
}

std::optional<ApiError> why_not_kind(const VdiView& vdi, VdiOperations op) {
    if (vdi.type == VdiType::cbt_metadata && !suits_metadata(op))
        return err::vdi_incompatible_type(vdi.ref, xenapi::wire_text(vdi.type));
    const bool copies = op == VdiOperations::snapshot || op == VdiOperations::copy;
    if (copies && !is_copyable_state(vdi))
        return err::vdi_on_boot_mode_incompatible_with_operation();
    if (op == VdiOperations::snapshot && vdi.sharable) return err::vdi_is_sharable(vdi.ref);
    if (op == VdiOperations::destroy && vdi.sr.is_udev)
        return err::vdi_is_a_physical_device(vdi.ref);
    if (op == VdiOperations::destroy && vdi.sr.is_tools)
        return err::sr_operation_not_supported(vdi.sr.ref);
    if (op == VdiOperations::destroy && vdi.type == VdiType::rrd) return err::vdi_has_rrds(vdi.ref);
    if ((op == VdiOperations::resize || op == VdiOperations::resize_online) && !vdi.sr.has_pbd)
        return err::sr_has_no_pbds(vdi.sr.ref);
    const bool cbt_change = op == VdiOperations::enable_cbt || op == VdiOperations::disable_cbt;
    if (cbt_change && vdi.is_snapshot)
        return err::operation_not_allowed("VDI is a snapshot: " + vdi.ref);
    if (cbt_change && vdi.type != VdiType::user && vdi.type != VdiType::system)
        return err::vdi_incompatible_type(vdi.ref, xenapi::wire_text(vdi.type));
    const bool against_cbt = op == VdiOperations::set_on_boot || op == VdiOperations::mirror;
    if (against_cbt && vdi.cbt_enabled) return err::vdi_cbt_enabled(vdi.ref);
    if (op == VdiOperations::data_destroy && !vdi.cbt_enabled)
        return err::vdi_no_cbt_metadata(vdi.ref);
    return std::nullopt;
}

}  // namespace

std::optional<ApiError> why_not(const SrView& sr, StorageOperations operation) {
    if (lacks_feature(sr_needs, operation, sr.features))
        return err::sr_operation_not_supported(sr.ref);
    for (const auto& [task, op] : sr.current) {
        const bool of_disks = xenapi::wire_text(op).starts_with("vdi_") &&
                              xenapi::wire_text(operation).starts_with("vdi_");
        if (op != StorageOperations::plug && !of_disks)
            return err::other_operation_in_progress("SR", sr.ref, xenapi::wire_text(op), task);
    }
    switch (operation) {
        case StorageOperations::destroy:
            if (sr.has_attached_pbd) return err::sr_has_pbd(sr.ref);
            if (!sr.has_pbd) return err::sr_has_no_pbds(sr.ref);
            if (sr.has_managed_vdi) return err::sr_not_empty();
            return std::nullopt;
        case StorageOperations::forget:
            if (sr.has_attached_pbd) return err::sr_has_pbd(sr.ref);
            return std::nullopt;
        case StorageOperations::vdi_create:
        case StorageOperations::vdi_destroy:
            if (sr.is_tools) return err::sr_operation_not_supported(sr.ref);
            return std::nullopt;
        default:
            return std::nullopt;
    }
}

std::vector<StorageOperations> allowed_operations(const SrView& sr) {
    std::vector<StorageOperations> allowed;
    for (std::size_t i = 0; i < xenapi::EnumTraits<StorageOperations>::texts.size(); ++i)
        if (const auto op = static_cast<StorageOperations>(i); !why_not(sr, op))
            allowed.push_back(op);
    return allowed;
}

std::optional<ApiError> why_not(const VdiView& vdi, VdiOperations operation) {
    for (const auto& [task, op] : vdi.current)
        if (op != VdiOperations::copy || operation == VdiOperations::snapshot)
            return err::other_operation_in_progress("VDI", vdi.ref, xenapi::wire_text(op), task);
    if (auto error = why_not_users(vdi, operation)) return error;
    if (lacks_feature(vdi_needs, operation, vdi.sr.features))
        return err::sr_operation_not_supported(vdi.sr.ref);
    return why_not_kind(vdi, operation);
}

std::vector<VdiOperations> allowed_operations(const VdiView& vdi) {
    std::vector<VdiOperations> allowed;
    for (std::size_t i = 0; i < xenapi::EnumTraits<VdiOperations>::texts.size(); ++i)
        if (const auto op = static_cast<VdiOperations>(i); !why_not(vdi, op)) allowed.push_back(op);
    return allowed;
}

}  // namespace basalt::rules
