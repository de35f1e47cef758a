#pragma once
#include <functional>
#include <set>
#include <vector>

#include "base/wait.hpp"
#include "idl/api/vif_api.hpp"
#include "idl/records/vif.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/storage.hpp"

namespace basalt::domain {

/// Class VIF: the network cards of VMs.
/// Plugging is in vif.cpp, what may be changed later in vif_settings.cpp.
class VifDomain final : public xenapi::VifApi {
  public:
    explicit VifDomain(core::Core& core) : core_(core), changes_(core.loop) {}

    Task<xenapi::Ref<xenapi::Vif>> create(Call& call, xenapi::VifCreate params) override;
    Task<void> destroy(Call& call, xenapi::VifDestroy params) override;
    Task<void> plug(Call& call, xenapi::VifPlug params) override;
    Task<void> unplug(Call& call, xenapi::VifUnplug params) override;
    Task<void> unplug_force(Call& call, xenapi::VifUnplugForce params) override;

    // vif_settings.cpp
    Task<void> move(Call& call, xenapi::VifMove params) override;
    Task<void> set_trunks(Call& call, xenapi::VifSetTrunks params) override;
    Task<void> add_trunks(Call& call, xenapi::VifAddTrunks params) override;
    Task<void> remove_trunks(Call& call, xenapi::VifRemoveTrunks params) override;
    Task<void> set_locking_mode(Call& call, xenapi::VifSetLockingMode params) override;
    Task<void> set_ipv4_allowed(Call& call, xenapi::VifSetIpv4Allowed params) override;
    Task<void> add_ipv4_allowed(Call& call, xenapi::VifAddIpv4Allowed params) override;
    Task<void> remove_ipv4_allowed(Call& call, xenapi::VifRemoveIpv4Allowed params) override;
    Task<void> set_ipv6_allowed(Call& call, xenapi::VifSetIpv6Allowed params) override;
    Task<void> add_ipv6_allowed(Call& call, xenapi::VifAddIpv6Allowed params) override;
    Task<void> remove_ipv6_allowed(Call& call, xenapi::VifRemoveIpv6Allowed params) override;

    Task<void> configure_ipv4(Call& call, xenapi::VifConfigureIpv4 params) override;
    Task<void> configure_ipv6(Call& call, xenapi::VifConfigureIpv6 params) override;

    /// The interfaces of guests that run on an appearing host with other rules than their rows say
    /// (a change was cut off between the host and the row) get those of the rows. Failures are
    /// logged; changes under way land their own outcome.
    Task<void> align(xenapi::Ref<xenapi::Host> host, agent::Host& agent,
                     std::vector<agent::DomainInfo> domains, NextOperation next);

  private:
    using Edit = std::function<void(xenapi::Vif&)>;

    Task<void> take_out(Call& call, xenapi::Ref<xenapi::Vif> vif, bool force);
    /// On the host first when a guest has the interface; then, or else, in the row.
    Task<void> change(Call& call, xenapi::Ref<xenapi::Vif> vif, Edit edit);

    struct Misruled {
        std::string vm;
        agent::NicSpec nic;
    };

    std::vector<Misruled> misruled(xenapi::Ref<xenapi::Host> host,
                                   const std::vector<agent::DomainInfo>& domains);

    core::Core& core_;
    ObjectQueue changes_;  // by interface: the host and the row must see them in one order
    std::multiset<xenapi::Ref<xenapi::Vif>> changing_;
};

}  // namespace basalt::domain
