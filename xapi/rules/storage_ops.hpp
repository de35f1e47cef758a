#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "idl/enums.hpp"

/// Which operations disks and storage repositories allow now. Pure.
namespace basalt::rules {

struct SrView {
    std::string ref;
    std::set<std::string> features;  // of the driver: VDI_SNAPSHOT ...
    bool has_pbd = false;
    bool has_attached_pbd = false;
    bool has_managed_vdi = false;
    bool is_tools = false;
    bool is_udev = false;
    std::map<std::string, xenapi::StorageOperations> current;
};

std::optional<ApiError> why_not(const SrView& sr, xenapi::StorageOperations operation);
std::vector<xenapi::StorageOperations> allowed_operations(const SrView& sr);

struct VdiView {
    std::string ref;
    SrView sr;
    bool managed = true;
    bool missing = false;
    bool sharable = false;
    bool read_only = false;
    bool reset_on_boot = false;
    bool cbt_enabled = false;
    bool is_snapshot = false;
    xenapi::VdiType type = xenapi::VdiType::user;
    bool attached = false;  // a VBD has it
    bool attached_for_writing = false;
    bool holder_is_suspended = false;  // a suspended VM needs it as it is
    std::map<std::string, xenapi::VdiOperations> current;
};

std::optional<ApiError> why_not(const VdiView& vdi, xenapi::VdiOperations operation);
std::vector<xenapi::VdiOperations> allowed_operations(const VdiView& vdi);

}  // namespace basalt::rules
