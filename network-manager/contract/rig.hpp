#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "network-manager/api/network.hpp"

namespace basalt::nm {

/// A backend under test, on a host with the interfaces eth0 and eth1.
class Rig {
  public:
    using Body = std::function<Task<void>(Network&)>;

    virtual ~Rig() = default;
    /// Runs a coroutine to its end; throws what it throws.
    virtual void run(Body body) = 0;
};

std::unique_ptr<Rig> make_sim_rig();
/// Null where the machine cannot do it, with the reason in `why_not`.
std::unique_ptr<Rig> make_ovs_rig(std::string& why_not);
std::unique_ptr<Rig> make_bridge_rig(std::string& why_not);

}  // namespace basalt::nm
