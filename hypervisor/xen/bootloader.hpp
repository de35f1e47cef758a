#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "hypervisor/api/hypervisor.hpp"

namespace basalt::hv::xen {

/// What a guest's own disk says that is to be booted, copied into files of this host.
struct FoundKernel {
    std::string kernel;
    std::string ramdisk;  // empty: none
    std::string args;
    bool operator==(const FoundKernel&) const = default;
};

struct KernelSearch {
    agent::BootSpec boot;
    std::string vm;      // its uuid, for what is thrown
    std::string device;  // the guest's disk
    /// A folder of this search alone, made anew; it is for the caller to remove.
    std::string folder;
    /// Who reads the disk: a user and group of this VM's alone.
    uid_t user = 0;
};

/// Looks for the kernel by pygrub, which leaves all privileges, sees no file but the disk, and may
/// write into two files only. Loop only; takes seconds, cancellable. Throws BOOTLOADER_FAILED
/// [vm, what it said].
Task<FoundKernel> find_kernel(RealLoop& loop, KernelSearch search);

/// What pygrub says in its format simple0. Nullopt when there is no kernel in it, or one that is
/// not in `folder`: who has read the disk may have been taken over by it.
std::optional<FoundKernel> parse_found(std::string_view said, const std::string& folder);

}  // namespace basalt::hv::xen
