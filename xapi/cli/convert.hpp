#pragma once
#include <string>

#include "idl/runtime/type_ops.hpp"
#include "xapi/cli/command_line.hpp"
#include "xapi/cli/facts.hpp"

namespace basalt::cli {

/// What a user typed as a value of that type: uuids become references, truth values and sizes are
/// read, sets are split at commas. `name` is for the error. Throws CommandError, UUID_INVALID.
Task<wire::Value> typed_value(Facts& facts, const xenapi::TypeOps* type, std::string name,
                              std::string text);

}  // namespace basalt::cli
