#pragma once
#include <map>
#include <optional>
#include <string>

#include "network-manager/linux/links.hpp"
#include "network-manager/plan/plan.hpp"

/// Our bridges in the kernel. Each carries our number as its link group from the moment it is made,
/// and in its alias what was asked of it, so that whoever starts anew reads both from the system.
///
/// A VLAN is a bridge whose only port, beside guests, is a VLAN device on its parent's uplink (on
/// the parent itself when that has none). The kernel hands a tagged frame to the VLAN device before
/// the parent sees it.
///
/// Blocking, like links.hpp; failures are system_error.
namespace basalt::nm::bridges {

/// The number on links of ours; those of others are never changed.
constexpr std::uint32_t link_group = 0x00ba5a17;

/// What was asked of a bridge, as text for its alias and back. Anything else reads as nothing
/// asked.
std::string alias_of(const Bridge& bridge);
Bridge asked_in(const std::string& alias);

/// By name, as they are: an uplink that is not a port is none, an address or MTU that was asked for
/// is the one the bridge has now.
std::map<std::string, Bridge> read();

/// Does one step of a plan, those about addresses excepted. INTERNAL_ERROR for an uplink that is a
/// port of something else. An uplink that is not there yet is left for the next `wire`.
void enact(const Action& action);

/// Makes what stands behind the bridges fit: uplinks and bridges up, each VLAN's device where its
/// tag and its parent's uplink want it, no device of ours without a bridge.
void wire(const std::map<std::string, Bridge>& wanted);

/// The ports that the want knows of: the uplink and guests' taps.
agent::NetworkHave report(const State& state);

}  // namespace basalt::nm::bridges
