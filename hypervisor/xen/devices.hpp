#pragma once
#include <string>

#include "hypervisor/api/hypervisor.hpp"

/// Devices of a domain that is there already. All of these block, and throw INTERNAL_ERROR with the
/// library's words unless another code is named: call them off the loop.
namespace basalt::hv::xen {

/// Idempotent by the disk's name. What fails leaves nothing of it in the store.
void add_disk(DomId dom, const agent::BootSpec& boot, const agent::DiskSpec& disk,
              const std::string& path);
/// Without `force` waits for the guest to let go: DEVICE_DETACH_TIMEOUT. Absent is success.
void remove_disk(DomId dom, const agent::DiskSpec& disk, bool force);
/// `path` empty: ejects.
void change_cd(DomId dom, const agent::BootSpec& boot, const agent::DiskSpec& disk,
               const std::string& path);

/// Idempotent by number.
void add_nic(DomId dom, const NicAttachment& nic);
/// As remove_disk.
void remove_nic(DomId dom, const agent::NicSpec& nic, bool force);

}  // namespace basalt::hv::xen
