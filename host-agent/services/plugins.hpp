#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/cgroup.hpp"
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

/// What one call may use. Generous: these are the administrator's own scripts; the point is that a
/// runaway one does not take the host along.
struct PluginLimits {
    std::int64_t memory_bytes_max = std::int64_t{1} << 30;
    std::int64_t pids_max = 512;
    std::int64_t cpu_weight = 50;  // half of what daemons and guests have
    std::size_t output_bytes_max = std::size_t{4} << 20;
    std::size_t running_max = 100;  // at once
};

/// Scripts that a host's administrator put into a folder, for callers to run. Each call has a group
/// of processes of its own, with limits, as far as the machine has them. Loop only.
class Plugins {
  public:
    /// Without `groups` the kernel limits nothing.
    Plugins(RealLoop& loop, std::string directory, std::shared_ptr<Cgroups> groups = nullptr,
            PluginLimits limits = {})
        : loop_(loop),
          directory_(std::move(directory)),
          groups_(std::move(groups)),
          limits_(limits) {}

    ~Plugins() {
        if (groups_) groups_->remove("");
    }

    Plugins(const Plugins&) = delete;
    Plugins& operator=(const Plugins&) = delete;

    /// Runs the plug-in to its end, however long it takes; cancelling kills it and all that it
    /// started. What it leaves running in good order lives on, within the limits.
    /// Throws XENAPI_MISSING_PLUGIN [name]; XENAPI_PLUGIN_FAILURE [status, stdout, stderr]; or what
    /// the plug-in says. Not idempotent: whatever the plug-in does.
    Task<std::string> call(std::string plugin, std::string function, PluginArgs args,
                           std::string session);

  private:
    class Group;

    RealLoop& loop_;
    std::string directory_;
    std::shared_ptr<Cgroups> groups_;
    PluginLimits limits_;
    std::set<std::string> used_;  // groups, running ones and those with processes left behind
    std::size_t running_ = 0;
    std::uint64_t last_ = 0;
};

}  // namespace basalt::agent
