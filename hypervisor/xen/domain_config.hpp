#pragma once
#include <map>
#include <optional>
#include <string>

#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/xen/bootloader.hpp"
#include "hypervisor/xen/xl.hpp"

namespace basalt::hv::xen {

/// Where this host finds what the guest's devices are made from.
struct Sources {
    /// Block devices, by the disks' names (xvda); an empty drive has none, and a guest without a
    /// device model has no drive as long as it is empty.
    std::map<std::string, std::string> disks;
    /// The socket at which the guest's screen is served; of guests with firmware only.
    std::string screen;
    /// The UEFI that one starts by; empty: where the library itself looks.
    std::string uefi = {};
    /// Of a guest that boots what its own disk names; none for one that is restored.
    std::optional<FoundKernel> found = std::nullopt;
};

/// Whether the guest has emulated devices beside Xen's own: those that start by firmware do.
bool has_device_model(const agent::BootSpec& boot);
/// Whether it starts by UEFI.
bool has_uefi(const agent::BootSpec& boot);
/// OPERATION_NOT_ALLOWED for a guest that wants a firmware which this host has not: it may have no
/// UEFI (`found`), and that keeps no keys from one start to the next, so there is no Secure Boot.
void require_firmware(const agent::VmSpec& spec, bool found);
/// Whether a program looks for its kernel in its own disk.
bool brings_kernel(const agent::BootSpec& boot);

/// Fills in what libxl makes the domain from. A guest that boots a kernel is PV, or PVH: the
/// hardware virtualises it, and nothing of a PC is emulated for it. One that boots by firmware is
/// HVM.
void fill(libxl_domain_config& out, const DomainConfig& config, const Sources& from);

void fill(libxl_device_disk& out, const agent::BootSpec& boot, const agent::DiskSpec& disk,
          const std::string& path);
void fill(libxl_device_nic& out, const NicAttachment& nic);

}  // namespace basalt::hv::xen
