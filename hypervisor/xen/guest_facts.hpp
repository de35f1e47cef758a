#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/xen/store.hpp"

/// From what agents in guests write into Xen's store to XenAPI's keys; pure. Read are both
/// xe-guest-utilities and Vates' xen-guest-agent, and the older keys of Windows' agents.
namespace basalt::hv::xen {

/// What of a domain's part of the store an agent writes.
const std::vector<std::string>& agent_folders();

/// `nodes` are those below `agent_folders`. There is an agent when it has told its version, or that
/// it is done with a round of telling. Addresses are told of NICs that the guest has.
agent::GuestFacts facts_of(const std::string& vm, const Nodes& nodes,
                           const std::set<std::int64_t>& nics);

}  // namespace basalt::hv::xen
