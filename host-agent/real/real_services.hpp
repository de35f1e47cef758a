#pragma once
#include "base/real_loop.hpp"
#include "host-agent/core/backends.hpp"
#include "host-agent/services/auth.hpp"
#include "host-agent/services/config.hpp"
#include "host-agent/services/extensions.hpp"
#include "host-agent/services/inventory.hpp"
#include "host-agent/services/machine.hpp"
#include "host-agent/services/plugins.hpp"

namespace basalt::agent {

/// The machine's own: /proc and /sys, PAM, scripts in the plug-in folder; who it is comes from the
/// configuration.
class RealServices final : public Services {
  public:
    RealServices(RealLoop& loop, const Config& config);

    Task<HostFacts> facts() override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;
    Task<bool> has_extension(std::string name) override;
    Task<std::string> extension_call(ExtensionCallArgs args) override;

    Machine& machine() override { return machine_; }

    Task<HostTime> time() override;
    Task<UniqueFd> open_console() override;

  private:
    RealLoop& loop_;
    std::vector<std::string> console_program_;
    HostConfig host_;
    StorageConfig storage_;
    Inventory inventory_;
    Auth auth_;
    Plugins plugins_;
    Extensions extensions_;
    RealMachine machine_;
};

}  // namespace basalt::agent
