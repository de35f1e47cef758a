#pragma once
#include <map>
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::agent {

using PluginArgs = std::map<std::string, std::string>;

/// What a plug-in gets as its one argument: an XML-RPC call of `function` with the session's
/// reference and a struct of texts.
std::string plugin_call_text(const std::string& function, const std::string& session,
                             const PluginArgs& args);

/// What a plug-in printed: an XML-RPC response. Returns the value of a success; throws the error of
/// a failure as it is, XENAPI_PLUGIN_FAILURE [reason, ...] for a fault or anything else.
std::string parse_plugin_response(const std::string& output);

/// Scripts that a host's administrator put into a folder, for callers to run. Loop only.
class Plugins {
  public:
    Plugins(RealLoop& loop, std::string directory)
        : loop_(loop), directory_(std::move(directory)) {}

    /// Runs the plug-in to its end, however long it takes; cancelling kills it.
    /// Throws XENAPI_MISSING_PLUGIN [name]; XENAPI_PLUGIN_FAILURE [status, stdout, stderr]; or what
    /// the plug-in says. Not idempotent: whatever the plug-in does.
    Task<std::string> call(std::string plugin, std::string function, PluginArgs args,
                           std::string session);

  private:
    RealLoop& loop_;
    std::string directory_;
};

}  // namespace basalt::agent
