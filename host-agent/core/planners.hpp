#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "host-agent/plan/vm_plans.hpp"

/// From the name and arguments of a verb, as they came, to its plan.
namespace basalt::agent {

/// Whether the verb acts on one guest, and so has a plan of several steps.
bool is_guest_verb(const std::string& verb);

/// What the verb works on: operations with the same object wait in line. A VM's uuid for a guest
/// verb; a room and a uuid for the others.
std::string object_of(const std::string& verb, const nlohmann::json& args);

/// Throws INTERNAL_ERROR for arguments that cannot be read, else what the plan functions throw.
plan::Plan make_plan(const std::string& verb, const nlohmann::json& args, const plan::Have& have);

}  // namespace basalt::agent
