#pragma once
#include <string>

#include "base/error.hpp"
#include "xapi/cli/facts.hpp"
#include "xapi/cli/terminal.hpp"

namespace basalt::cli {

/// The explaining line of an error, with its parameters behind it.
[[nodiscard]] std::string error_line(const ApiError& error);
/// Whether the data model knows the code.
[[nodiscard]] bool is_known_error(const std::string& code);
/// The explaining line, then a line a parameter; references become uuids with names, as far as
/// `facts` (may be null) can still read them. Unknown codes go to the client as they are.
Task<void> print_failure(Terminal& terminal, Facts* facts, ApiError error);

}  // namespace basalt::cli
