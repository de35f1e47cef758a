#pragma once
#include <string>

#include "agent_values.hpp"
#include "base/wait.hpp"

/// Networks of a host: say what is wanted, a pure diff finds the steps, `apply` makes them so.
namespace basalt::nm {

struct PortWant {
    std::string bridge;
    std::string name;  // of the tap interface
    std::int64_t mtu = 1500;
    agent::NicSpec nic;
    /// The interface is there already and is not ours to make or to delete: a hypervisor's.
    bool made = false;
};

/// Loop only. Verbs that throw have changed nothing.
class Network {
  public:
    virtual ~Network() = default;

    [[nodiscard]] virtual std::string backend() const = 0;  // openvswitch, bridge
    /// What is there, read from the system.
    virtual Task<agent::NetworkHave> have() = 0;
    /// Makes bridges, VLANs and addresses as wanted; removes bridges of ours that are not.
    /// Idempotent. Ports of guests on bridges that stay are not touched.
    virtual Task<agent::NetworkHave> apply(agent::NetworkWant want) = 0;
    /// Makes a tap interface, unless one is made already, and puts it on the bridge;
    /// BRIDGE_NOT_AVAILABLE. Idempotent by name.
    virtual Task<void> add_port(PortWant port) = 0;
    /// Idempotent: absent is success. The interface goes too.
    virtual Task<void> remove_port(std::string name) = 0;
    /// Names of the guest ports that exist (for reconciliation).
    virtual Task<std::vector<std::string>> ports() = 0;
    /// Physical interfaces: never taps, bridges or lo.
    virtual Task<std::vector<agent::NicFacts>> interfaces() = 0;
};

}  // namespace basalt::nm
