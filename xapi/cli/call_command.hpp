#pragma once
#include "xapi/cli/invocation.hpp"

namespace basalt::cli {

/// A command that stands for one message: makes the parameters as its table row says, calls, and
/// prints the answer (of objects: their uuids).
Task<void> run_call_command(Invocation& run);

/// Prints the answer of a message as that message's type asks for.
Task<void> print_answer(Invocation& run, std::string method, wire::Value answer);

}  // namespace basalt::cli
