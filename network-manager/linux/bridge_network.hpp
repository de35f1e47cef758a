#pragma once
#include <string>
#include <vector>

#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "network-manager/api/network.hpp"
#include "network-manager/plan/plan.hpp"

namespace basalt::nm {

struct BridgeConfig {
    /// Rewritten with the name servers of the want; empty: left alone.
    std::string resolv_conf;
    /// The uid that may open guests' taps; -1: root only.
    std::int64_t port_owner = -1;
};

/// nm::Network over the kernel's own bridges and VLAN devices (linux/bridges.hpp). Nothing has to
/// run beside it: what it made stays in the kernel when hostd goes, and is read from there when it
/// comes back. Bridges of others are never changed.
class BridgeNetwork final : public Network {
  public:
    BridgeNetwork(RealLoop& loop, BridgeConfig config);

    [[nodiscard]] std::string backend() const override { return "bridge"; }

    Task<agent::NetworkHave> have() override;
    /// An uplink that is not there is no error: the next apply takes it up.
    Task<agent::NetworkHave> apply(agent::NetworkWant want) override;
    /// OPENVSWITCH_NOT_ACTIVE for a locked port.
    Task<void> add_port(PortWant port) override;
    Task<void> remove_port(std::string name) override;
    Task<std::vector<std::string>> ports() override;
    Task<std::vector<agent::NicFacts>> interfaces() override;

  private:
    Task<State> state();
    Task<void> reach(State wanted, State have);
    Task<void> restore(State before);
    Task<void> unplug(std::string name);

    RealLoop& loop_;
    BridgeConfig config_;
    ObjectQueue queue_;
};

}  // namespace basalt::nm
