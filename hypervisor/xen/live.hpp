#pragma once
#include <cstdint>
#include <string>

#include "hypervisor/api/hypervisor.hpp"

/// What a running domain has, changed. All of these block, and throw INTERNAL_ERROR with the
/// library's words unless another code is named: call them off the loop.
namespace basalt::hv::xen {

/// Tells the guest's balloon, and Xen to give the domain no more than that.
void set_memory_target(DomId dom, std::int64_t bytes);
/// The first `count` of its `all` processors are for the guest to use. It does so when it comes to
/// it; one with a device model cannot be told to use fewer.
void set_processors(DomId dom, std::int64_t count, std::int64_t all);
void set_shares(DomId dom, const agent::CpuShares& shares, std::int64_t processors);

/// Whether a guest can hear them: only what has buttons does (nmi aside).
bool hears(const agent::BootSpec& boot, agent::GuestSignal signal);
/// Of those that it hears, but for reset. INVALID_VALUE for a key that no keyboard has.
void send_signal(DomId dom, agent::GuestSignal signal, const std::string& key);

}  // namespace basalt::hv::xen
