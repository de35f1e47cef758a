#pragma once
#include <string>

#include "host-agent/core/backends.hpp"
#include "host-agent/sim/sim_host.hpp"

namespace basalt::agent::sim {

/// One user, root, whose password changes as asked; no plug-ins.
class SimServices final : public Services {
  public:
    explicit SimServices(Options& options) : options_(options) {}

    Task<HostFacts> facts() override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;

  private:
    Options& options_;
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
