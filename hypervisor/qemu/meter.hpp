#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/wait.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/qemu/domain.hpp"

namespace basalt::hv::qemu {

/// Seconds of each processor of the guest, by number.
struct VcpuTimes {
    std::vector<double> ran;
    std::vector<double> waited;  ///< for a processor of the host to be free
};

/// From the threads of its process; `proc` stands for /proc. Without hardware virtualisation
/// several may share a thread: then all that it did counts for the first. Empty when the process is
/// gone. Blocks.
VcpuTimes read_vcpu_times(pid_t pid, const std::string& proc = "/proc");

/// What the domains use now. Those whose QEMU is silent for two seconds are there without what it
/// alone knows.
Task<std::vector<DomainReading>> measure(Loop& loop, std::vector<DomainPtr> domains);

}  // namespace basalt::hv::qemu
