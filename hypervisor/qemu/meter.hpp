#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/wait.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/qemu/domain.hpp"

namespace basalt::hv::qemu {

/// Seconds that each processor of the guest has run, by number, from the threads of its process.
/// `proc` stands for /proc. Without hardware virtualisation several may share a thread: then all
/// that it ran counts for the first. Empty when the process is gone. Blocks.
std::vector<double> read_vcpu_seconds(pid_t pid, const std::string& proc = "/proc");

/// What the domains use now. Those whose QEMU is silent for two seconds are there without what it
/// alone knows.
Task<std::vector<DomainReading>> measure(Loop& loop, std::vector<DomainPtr> domains);

}  // namespace basalt::hv::qemu
