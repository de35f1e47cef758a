#pragma once
#include <functional>

#include "xapi/cli/invocation.hpp"

namespace basalt::cli {

/// NAME-list, NAME-param-list and so on.
Task<void> run_object_command(Invocation& run, ObjectCommand command);

/// Prints objects as their NAME-list does: `wanted` are field names separated by commas, "all" or
/// empty for the usual ones.
Task<void> print_objects(Invocation& run, const Object& object, std::vector<std::string> refs,
                         std::string wanted);
[[nodiscard]] const Object& object_named(std::string_view name);

/// Whether an object has that value in a field; `name` may also be `map:key`, `map-key` or
/// `set:contains`. Throws CommandError when there is no such field.
Task<bool> has_value(Facts& facts, const Object& object, std::string ref, std::string name,
                     std::string value);

/// Parameters that are never filters.
[[nodiscard]] bool is_common_parameter(std::string_view name);

}  // namespace basalt::cli
