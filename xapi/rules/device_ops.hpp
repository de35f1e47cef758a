#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "idl/enums.hpp"

/// Which operations the devices of a VM allow now (VBD, VIF). Pure.
namespace basalt::rules {

/// What device rules need to know of the VM.
struct DeviceVmView {
    std::string ref;
    xenapi::VmPowerState power_state = xenapi::VmPowerState::halted;
    bool is_control_domain = false;
    bool ending_or_pausing = false;  // clean_shutdown, hard_shutdown, suspend or pause runs
};

struct VbdView {
    std::string ref;
    xenapi::VbdType type = xenapi::VbdType::disk;
    xenapi::VbdMode mode = xenapi::VbdMode::rw;
    bool attached = false;
    bool empty = false;
    bool unpluggable = true;
    std::string vdi;  // ref, empty when none
    bool vdi_read_only = false;
    bool vdi_sharable = false;
    bool vdi_busy_elsewhere = false;  // attached by another VBD in a way that excludes this one
    DeviceVmView vm;
    std::map<std::string, xenapi::VbdOperations> current;
};

std::optional<ApiError> why_not(const VbdView& vbd, xenapi::VbdOperations operation);
std::vector<xenapi::VbdOperations> allowed_operations(const VbdView& vbd);

struct VifView {
    std::string ref;
    bool attached = false;
    DeviceVmView vm;
    std::map<std::string, xenapi::VifOperations> current;
    bool is_function = false;  // of a card, on a network of such
};

std::optional<ApiError> why_not(const VifView& vif, xenapi::VifOperations operation);
std::vector<xenapi::VifOperations> allowed_operations(const VifView& vif);

/// "halted" for errors, as the real server writes it.
std::string power_state_text(xenapi::VmPowerState state);

}  // namespace basalt::rules
