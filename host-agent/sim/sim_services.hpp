#pragma once
#include <string>
#include <vector>

#include "host-agent/core/backends.hpp"
#include "host-agent/sim/sim_host.hpp"

namespace basalt::agent::sim {

/// One user, root, whose password changes as asked; no plug-ins. Or those of `Options::services`.
class SimServices final : public Services {
  public:
    SimServices(Loop& loop, Options& options) : loop_(loop), options_(options) {}

    Task<HostFacts> facts() override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;
    Task<HostTime> time() override;
    Task<UniqueFd> open_console() override;

  private:
    Loop& loop_;
    Options& options_;
    std::vector<UniqueFd> consoles_;
};

/// Suspend images beside the simulated disks.
class SimImages final : public Images {
  public:
    explicit SimImages(Shared& shared) : shared_(shared) {}

    Task<void> store(hv::DiskAttachment disk, Use fill) override;
    Task<void> load(hv::DiskAttachment disk, Use drain) override;

  private:
    Shared& shared_;
};

}  // namespace basalt::agent::sim
