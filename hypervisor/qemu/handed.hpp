#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/subprocess.hpp"
#include "hypervisor/qemu/plan.hpp"

/// What QEMU gets as open descriptors. It runs as a user that can open none of these by name, so
/// nothing else of the kind can be opened from inside either. All calls block, and throw
/// INTERNAL_ERROR.
namespace basalt::hv::qemu {

struct Handed {
    UniqueFd monitor;  // ours: connected already, so that it breaks if the child never lives
    std::map<int, UniqueFd> files;  // by the number that the child sees, see `Descriptors`

    [[nodiscard]] std::vector<Command::Inherit> inherit() const;
};

Handed open_handed(const DomainConfig& config, const Machine& machine, const DomainPaths& paths);
/// The host's end of a NIC; the interface is there already.
UniqueFd open_tap(const std::string& name);
/// A USB device of the host, by its file.
UniqueFd open_usb(const std::string& node);

}  // namespace basalt::hv::qemu
