#pragma once
#include <map>
#include <string>
#include <vector>

#include "network-manager/api/network.hpp"
#include "network-manager/plan/plan.hpp"

namespace basalt::nm::sim {

/// nm::Network in memory: runs the same plan on the plan's own model.
class SimNetwork final : public Network {
  public:
    /// `delay` is how long each verb takes.
    SimNetwork(Loop& loop, std::vector<agent::NicFacts> nics, Duration delay = 1ms);

    /// The next call of `verb` (apply, add_port, ...) throws this and changes nothing.
    void fail_next(const std::string& verb, ApiError error);

    // What is there, without asking: for tests.
    [[nodiscard]] const std::map<std::string, Bridge>& bridges() const { return state_.bridges; }

    [[nodiscard]] const std::map<std::string, std::string>& port_bridges() const { return ports_; }

    [[nodiscard]] const std::vector<std::string>& managers() const { return managers_; }

    /// What a reboot leaves: nothing but the hardware.
    void reboot();

    [[nodiscard]] std::string backend() const override { return "openvswitch"; }

    Task<agent::NetworkHave> have() override;
    Task<agent::NetworkHave> apply(agent::NetworkWant want) override;
    Task<void> add_port(PortWant port) override;
    Task<void> remove_port(std::string name) override;
    Task<std::vector<std::string>> ports() override;
    Task<std::vector<agent::NicFacts>> interfaces() override;

  private:
    Task<void> begin(std::string verb);
    [[nodiscard]] agent::NetworkHave report() const;

    Loop& loop_;
    std::vector<agent::NicFacts> nics_;
    Duration delay_;
    State state_;
    std::vector<std::string> managers_;         // of the switch
    std::map<std::string, std::string> ports_;  // name -> bridge
    std::map<std::string, ApiError> faults_;
};

}  // namespace basalt::nm::sim
