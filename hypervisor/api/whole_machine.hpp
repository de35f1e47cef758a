#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/wait.hpp"

namespace basalt::hv {

/// The machine as a hypervisor sees it.
struct WholeMachine {
    std::int64_t cpu_count = 0;
    std::int64_t cpu_sockets = 0;
    std::int64_t cpu_threads_per_core = 0;
    std::int64_t numa_nodes = 0;
    double cpu_mhz = 0;
    std::int64_t memory_total_bytes = 0;
    std::int64_t memory_free_bytes = 0;
    bool iommu = false;
    /// Kinds of guests that it runs, as host.capabilities has them: hvm-3.0-x86_64 ...
    std::vector<std::string> capabilities;
    bool operator==(const WholeMachine&) const = default;
};

/// An ability of a Hypervisor below which this system runs: it alone knows more of the machine than
/// the part that its control domain was given. Loop only; INTERNAL_ERROR with the native text.
class MachineSeer {
  public:
    virtual ~MachineSeer() = default;
    virtual Task<WholeMachine> whole_machine() = 0;
};

}  // namespace basalt::hv
