#pragma once
#include <cstdint>
#include <string>

namespace basalt::nm::links {

/// What a network device says of its virtual functions (SR-IOV).
struct Sriov {
    std::int64_t vfs_max = 0;  ///< that its card can have; 0: it knows no SR-IOV
    std::int64_t vfs = 0;      ///< that it has now
    std::string card;          ///< of a virtual function: its card's PCI address; else empty
    bool operator==(const Sriov&) const = default;
};

/// From the device's folder in sysfs (/sys/class/net/NAME/device). What is not there, or is no
/// number, is none. Reads small files of the kernel's, so may be called on the loop.
Sriov read_sriov(const std::string& folder);

}  // namespace basalt::nm::links
