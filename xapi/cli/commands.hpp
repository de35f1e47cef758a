#pragma once
#include <string_view>
#include <utility>
#include <vector>

#include "xapi/cli/invocation.hpp"

namespace basalt::cli {

/// The function of a command that is more than one message.
using CommandFunction = Task<void> (*)(Invocation& run);
using CommandFunctions = std::vector<std::pair<std::string_view, CommandFunction>>;

// By subject, one file each.
[[nodiscard]] const CommandFunctions& vm_commands();
[[nodiscard]] const CommandFunctions& vm_device_commands();
[[nodiscard]] const CommandFunctions& snapshot_commands();
[[nodiscard]] const CommandFunctions& storage_commands();
[[nodiscard]] const CommandFunctions& host_commands();
[[nodiscard]] const CommandFunctions& transfer_commands();
[[nodiscard]] const CommandFunctions& file_commands();
[[nodiscard]] const CommandFunctions& recovery_commands();
[[nodiscard]] const CommandFunctions& diagnostic_commands();
[[nodiscard]] const CommandFunctions& other_commands();

/// Null: no function of its own.
[[nodiscard]] CommandFunction find_function(std::string_view name);

/// `help`: needs nobody logged in.
Task<void> print_help(Terminal& terminal, const Params& params);

/// Asks the user; throws Exit when the answer is not yes. `force=true` answers it beforehand.
Task<void> confirm(Invocation& run, std::string question);

/// Runs what the client does over HTTP with a task beside it, waits for both; throws the task's
/// error. `url` gets session and task appended. Returns the task's result.
Task<std::string> transfer_with_task(Invocation& run, Instruction::Kind kind, std::string file,
                                     std::string url);
/// A file of the user's. Throws CommandError: it cannot be read.
Task<std::string> uploaded(Invocation& run, std::string path);
[[nodiscard]] std::string url_encoded(std::string_view text);

}  // namespace basalt::cli
