#pragma once
#include <cstdint>
#include <string>

#include "hypervisor/api/hypervisor.hpp"

namespace basalt::hv {

/// An ability of a Hypervisor: what a running guest has can be changed. Loop only; a verb that
/// throws has changed nothing.
class LiveChanges {
  public:
    virtual ~LiveChanges() = default;

    /// Tells the guest's balloon how many bytes to leave it, at most what the domain was made with.
    /// Returns at once: the guest obeys when it comes to it, or never (`Events::memory_moved`).
    virtual Task<void> set_memory_target(DomId dom, std::int64_t bytes) = 0;
    /// Adds virtual CPUs, or has the guest's agent stop using some. 1 to the domain's `vcpus_max`.
    /// Throws VM_LACKS_FEATURE when it needs an agent that is not there or refuses.
    virtual Task<void> set_vcpus(DomId dom, std::int64_t count) = 0;
    virtual Task<void> set_cpu_shares(DomId dom, agent::CpuShares shares) = 0;
    /// `key` is the letter or digit of `sysrq`, else unused. INVALID_VALUE for a key that no
    /// keyboard has; VM_LACKS_FEATURE for `sleep` without an agent.
    virtual Task<void> send(DomId dom, agent::GuestSignal signal, std::string key) = 0;
};

}  // namespace basalt::hv
