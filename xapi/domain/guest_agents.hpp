#pragma once
#include <map>
#include <string>

#include "agent_verbs.hpp"
#include "base/wait.hpp"
#include "idl/runtime/map.hpp"

/// What guests' agents are told of the pool's wishes (pool.guest_agent_config).
namespace basalt::domain {

/// Throws INVALID_VALUE [guest_agent_config, key = value] for a key that no agent knows, or a value
/// that it would not understand.
void require_agent_setting(const std::string& key, const std::string& value);

/// What agents find below /guest_agent_features in the store that they share with their host.
std::map<std::string, std::string> guest_features(
    const xenapi::Map<std::string, std::string>& config);

/// Has the host tell them to its guests, which find them there from now on until it boots again.
/// What the host's plug-in says when it cannot.
Task<void> tell_guest_features(agent::Host& agent,
                               const xenapi::Map<std::string, std::string>& config);

}  // namespace basalt::domain
