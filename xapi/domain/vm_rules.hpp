#pragma once
#include <cstdint>
#include <string>

#include "idl/records/vm.hpp"

/// Small facts about VMs that several files of the domain need. Pure.
namespace basalt::domain {

/// Bytes a guest needs beyond its own memory: page tables and the device model's share.
/// The formula is the one clients know from the real server (wire captures: 13 MiB for 1 GiB and 2
/// vCPUs).
std::int64_t memory_overhead_bytes(const xenapi::Vm& vm);

/// Running or paused: a domain of it is somewhere.
[[nodiscard]] bool has_domain(const xenapi::Vm& vm);

/// hvm, pv ... as the boot fields say, when domain_type says nothing.
xenapi::DomainType domain_type_of(const xenapi::Vm& vm);
[[nodiscard]] bool is_hvm(const xenapi::Vm& vm);
/// Whether its firmware is UEFI's.
[[nodiscard]] bool is_uefi(const xenapi::Vm& vm);

/// Throws MEMORY_CONSTRAINT_VIOLATION_ORDER unless static_min <= dynamic_min <= dynamic_max <=
/// static_max.
void require_memory_order(const xenapi::Vm& vm);
/// Throws INVALID_VALUE unless 0 < VCPUs_at_startup <= VCPUs_max.
void require_vcpu_order(std::int64_t at_startup, std::int64_t most, std::int64_t wrong);

/// The MAC of NIC `device` of a VM with this seed; the same for ever (wire.md, section 10).
std::string mac_from_seed(const std::string& seed, std::int64_t device);
[[nodiscard]] bool is_valid_mac(const std::string& mac);

/// 0 -> "xvda", 26 -> "xvdaa".
std::string disk_name(std::int64_t position);
/// "0", "xvda", "hda", "sda1" ... -> position; negative: malformed.
std::int64_t disk_position(const std::string& device);

}  // namespace basalt::domain
