#pragma once
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "hypervisor/api/hypervisor.hpp"

/// Disks that storage daemons serve by NBD, as block devices of this kernel: what Xen's block
/// backend opens. The kernel keeps each one's tag, VM/DEVICE, by which it is found again. All of
/// this throws INTERNAL_ERROR with the kernel's or the server's words.
namespace basalt::hv::xen {

/// Connects the disk and returns the device's path; idempotent by VM and device.
Task<std::string> connect_disk(RealLoop& loop, std::string vm, DiskAttachment disk);
/// Connects it anew, as large as it is now, after its server has broken the connection to change
/// its size. Until then the guest's requests wait, for a minute at most.
Task<void> reconnect_disk(RealLoop& loop, std::string vm, DiskAttachment disk);

// These block: call them off the loop. Absent is success.
void disconnect_disk(const std::string& vm, const std::string& device);
void disconnect_disks(const std::string& vm);

/// Empty: there is none.
std::string path_of_disk(const std::string& vm, const std::string& device);

}  // namespace basalt::hv::xen
