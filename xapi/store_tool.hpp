#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace basalt {

/// `xapi --config FILE store ...`: what is done with the store while the server may be down.
/// Returns what runs the command, once `app` was parsed and has got one; `config` names the
/// server's configuration and outlives it. It prints, and throws what went wrong.
std::function<int()> add_store_commands(CLI::App& app, const std::string& config);

}  // namespace basalt
