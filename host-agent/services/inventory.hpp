#pragma once
#include <string>

#include "agent_values.hpp"
#include "base/wait.hpp"

namespace basalt::agent {

/// What this machine is, read from the kernel and the firmware. Loop only.
class Inventory {
  public:
    /// `sysroot` stands before /proc, /sys and /etc (empty on a machine).
    explicit Inventory(Loop& loop, std::string sysroot = {})
        : loop_(loop), sysroot_(std::move(sysroot)) {}

    /// hostname, boot, kernel, processors, memory, firmware and iSCSI name; who the host is and
    /// what its backends are is for the caller to add. What cannot be read stays empty.
    Task<HostFacts> facts();

  private:
    Loop& loop_;
    std::string sysroot_;
};

/// The same, on the calling thread.
HostFacts read_inventory(const std::string& sysroot);

}  // namespace basalt::agent
