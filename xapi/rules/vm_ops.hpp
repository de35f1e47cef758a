#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "idl/enums.hpp"

/// Which operations a VM allows now, as a table. Pure: views in, reasons out.
namespace basalt::rules {

using xenapi::VmOperations;
using xenapi::VmPowerState;

/// What the rules need to know of a VM.
struct VmView {
    std::string ref;
    VmPowerState power_state = VmPowerState::halted;
    bool is_template = false;
    bool is_default_template = false;
    bool is_snapshot = false;
    bool is_control_domain = false;
    bool immobile = false;               // platform nomigrate or nested-virt
    bool resets_a_disk_on_boot = false;  // a VDI with on_boot=reset
    bool has_pci = false;
    bool has_vgpu = false;
    bool has_vusb = false;
    std::int64_t vtpm_count = 0;
    bool in_appliance = false;
    bool has_schedule = false;
    bool clone_suspended_allowed = false;         // pool other_config allow_clone_suspended_vm
    std::map<VmOperations, std::string> blocked;  // operation -> code given by the user
    std::map<std::string, VmOperations> current;  // task -> operation
};

/// Why `operation` may not start now, with the error the client gets; nothing when it may.
/// The order of the checks is the real server's: wire.md, section 9.
std::optional<ApiError> why_not(const VmView& vm, VmOperations operation);

/// All operations that clients may see as allowed: those without a reason against, less the hidden
/// ones.
std::vector<VmOperations> allowed_operations(const VmView& vm);

/// The table as text, one row an operation, for the golden file.
std::string vm_ops_text();

}  // namespace basalt::rules
