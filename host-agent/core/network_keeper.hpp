#pragma once
#include <memory>
#include <optional>
#include <string>

#include "agent_verbs.hpp"
#include "base/wait.hpp"
#include "host-agent/local/records.hpp"
#include "network-manager/api/network.hpp"

namespace basalt::agent {

/// The network that this host was last told to have: applied again when hostd starts, and taken
/// back when who asked for it cannot reach the host any more. Only what stands is remembered: a
/// network that cuts the host off dies with hostd, or with the time to say that it does not. Loop
/// only.
class NetworkKeeper {
  public:
    NetworkKeeper(Loop& loop, Records& records, nm::Network& network)
        : loop_(loop), records_(records), network_(network) {}

    /// Applies the network that was last remembered, if any. First call.
    Task<void> apply_remembered();
    /// The verb network_apply. Idempotent; takes the place of one that is not confirmed yet.
    Task<NetworkHave> apply(NetworkApplyArgs args);
    /// The verb network_keep.
    Task<bool> keep(std::string confirm);
    /// Puts into `facts` how the host is reached, when that was set here; else leaves them.
    Task<void> describe_management(HostFacts& facts);
    /// Ends the wait for a confirmation; what is not confirmed is not remembered.
    Task<void> stop();

  private:
    struct Pending {
        std::string confirm;
        NetworkWant want;
        std::optional<std::string> management;
        std::shared_ptr<Job> timer;
    };

    Task<void> remember(NetworkWant want, std::optional<std::string> management);
    Task<void> take_back(std::string confirm, Duration after);
    [[nodiscard]] std::optional<NetworkWant> remembered() const;
    [[nodiscard]] std::string management() const;
    [[nodiscard]] std::optional<std::string> successor(const NetworkWant& want) const;
    void drop_pending();

    Loop& loop_;
    Records& records_;
    nm::Network& network_;
    std::optional<Pending> pending_;
    std::string kept_;  // the name that was confirmed last
};

}  // namespace basalt::agent
