#pragma once
#include <string>

#include "agent_values.hpp"

/// What the checks of hostd's arguments (guard.cpp) say of interfaces and networks. Pure.
namespace basalt::agent {

/// BRIDGE_NOT_AVAILABLE for what can be no interface's name.
void check_bridge(const std::string& name);
/// INVALID_VALUE for what is no manager of a switch: `ssl:ADDRESS:PORT`, or `pssl:PORT`.
void check_manager(const std::string& target);
/// Also MAC_INVALID, INVALID_DEVICE, INVALID_VALUE [MTU], INVALID_IP_ADDRESS_SPECIFIED and
/// VLAN_TAG_INVALID.
void check_nic(const NicSpec& nic);
void check_network(const BridgeWant& want);
void check_bond(const BondWant& bond);

}  // namespace basalt::agent
