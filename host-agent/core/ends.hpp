#pragma once
#include "agent_values.hpp"
#include "host-agent/run/journal.hpp"

namespace basalt::agent {

/// What a coordinator that took over must know of a kept result. Only for entries that ended.
OperationEnd end_of(const Entry& entry);

}  // namespace basalt::agent
