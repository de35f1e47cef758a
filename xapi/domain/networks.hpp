#pragma once
#include <functional>
#include <set>

#include "agent_verbs.hpp"
#include "base/wait.hpp"
#include "idl/api/network_api.hpp"
#include "idl/api/pif_api.hpp"
#include "idl/api/vlan_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// What the records say a host's networks should be. Pure reader of one transaction.
agent::NetworkWant network_want(const db::Txn& txn, xenapi::Ref<xenapi::Host> host);

/// Makes hosts' networks what the records want.
class Networks {
  public:
    explicit Networks(core::Core& core) : core_(core), queue_(core.loop) {}

    Task<void> apply(Call& call, xenapi::Ref<xenapi::Host> host);
    /// To every connected host; a network without PIFs is on all of them.
    Task<void> apply_everywhere(Call& call);

    /// A change after which the host may be out of reach.
    struct Risk {
        xenapi::Ref<xenapi::Host> host;
        xenapi::Ref<xenapi::Pif> pif;  ///< by which the host is managed afterwards
        /// The change of the records. It is first tried and taken back, then made when it holds.
        std::function<void(db::Txn&)> edit;
    };

    /// The records change only once the host was asked over its new network; one that does not
    /// answer in time goes back to the old one by itself. Lands the host's address.
    /// INTERFACE_HAS_NO_IP [bridge], PIF_CONFIGURATION_ERROR [pif, why].
    Task<void> apply_reachable(Call& call, Risk risk);

    /// Whether such a change is under way: the host must not be told of its network besides.
    [[nodiscard]] bool is_changing(xenapi::Ref<xenapi::Host> host) const {
        return changing_.contains(host);
    }

  private:
    Task<void> tell(Call& call, xenapi::Ref<xenapi::Host> host);
    Task<agent::NetworkHave> try_out(Call& call, Risk risk, std::string confirm);
    Task<void> put_back(Call& call, xenapi::Ref<xenapi::Host> host);
    Task<bool> is_kept(xenapi::Ref<xenapi::Host> host, std::string confirm);

    core::Core& core_;
    ObjectQueue queue_;  // by host: one change at a time
    std::set<xenapi::Ref<xenapi::Host>> changing_;
};

/// OPENVSWITCH_NOT_ACTIVE when a host's networks are the kernel's own bridges.
void require_openvswitch(const core::Core& core);
/// What the host has by a lease or an announcement, into the interfaces that ask for such.
void land_leases(db::Txn& txn, xenapi::Ref<xenapi::Host> host, const agent::NetworkHave& have);
/// The address by which the host is reached: its own, and that of the consoles it serves. Empty:
/// by none.
void land_host_address(db::Txn& txn, xenapi::Ref<xenapi::Host> host, const std::string& address);
/// How `from` gets addresses of both families, and those it has, for `to` too.
void copy_addresses(const xenapi::Pif& from, xenapi::Pif& to);
/// The interface by which the host is managed; null: by none.
xenapi::Ref<xenapi::Pif> management_pif(const db::Txn& txn, xenapi::Ref<xenapi::Host> host);

/// Class network.
class NetworkDomain final : public xenapi::NetworkApi {
  public:
    NetworkDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::Network>> create(Call& call, xenapi::NetworkCreate params) override;
    Task<void> destroy(Call& call, xenapi::NetworkDestroy params) override;
    Task<void> set_default_locking_mode(Call& call,
                                        xenapi::NetworkSetDefaultLockingMode params) override;
    Task<void> add_purpose(Call& call, xenapi::NetworkAddPurpose params) override;
    Task<void> remove_purpose(Call& call, xenapi::NetworkRemovePurpose params) override;
    Task<xenapi::Ref<xenapi::Network>> pool_introduce(Call& call,
                                                      xenapi::NetworkPoolIntroduce params) override;
    Task<void> attach(Call& call, xenapi::NetworkAttach params) override;
    Task<void> attach_for_vm(Call& call, xenapi::NetworkAttachForVm params) override;
    Task<void> detach_for_vm(Call& call, xenapi::NetworkDetachForVm params) override;
    Task<xenapi::Ref<xenapi::Blob>> create_new_blob(Call& call,
                                                    xenapi::NetworkCreateNewBlob params) override;

  private:
    core::Core& core_;
    Networks& networks_;
};

class VlanDomain;

/// Class PIF. What changes interfaces beyond plugging is in pif_settings.cpp (which there are) and
/// pif_addresses.cpp.
class PifDomain final : public xenapi::PifApi {
  public:
    PifDomain(core::Core& core, Networks& networks, VlanDomain& vlans)
        : core_(core), networks_(networks), vlans_(vlans) {}

    Task<void> scan(Call& call, xenapi::PifScan params) override;
    Task<void> plug(Call& call, xenapi::PifPlug params) override;
    Task<void> unplug(Call& call, xenapi::PifUnplug params) override;
    Task<void> set_disallow_unplug(Call& call, xenapi::PifSetDisallowUnplug params) override;
    Task<void> reconfigure_ip(Call& call, xenapi::PifReconfigureIp params) override;
    Task<xenapi::Ref<xenapi::Pif>> introduce(Call& call, xenapi::PifIntroduce params) override;
    Task<void> forget(Call& call, xenapi::PifForget params) override;
    Task<xenapi::Ref<xenapi::Pif>> create_VLAN(Call& call, xenapi::PifCreateVlan params) override;
    Task<void> destroy(Call& call, xenapi::PifDestroy params) override;
    Task<xenapi::Ref<xenapi::Pif>> db_introduce(Call& call, xenapi::PifDbIntroduce params) override;
    Task<xenapi::Ref<xenapi::Pif>> pool_introduce(Call& call,
                                                  xenapi::PifPoolIntroduce params) override;
    Task<void> db_forget(Call& call, xenapi::PifDbForget params) override;
    Task<void> set_primary_address_type(Call& call,
                                        xenapi::PifSetPrimaryAddressType params) override;
    Task<void> reconfigure_ipv6(Call& call, xenapi::PifReconfigureIpv6 params) override;
    Task<void> set_property(Call& call, xenapi::PifSetProperty params) override;

  private:
    /// Changes the record, and the host if the interface is plugged; both or none.
    Task<void> change(Call& call, xenapi::Ref<xenapi::Pif> pif,
                      std::function<void(xenapi::Pif&)> edit);

    core::Core& core_;
    Networks& networks_;
    VlanDomain& vlans_;
};

/// Class VLAN.
class VlanDomain final : public xenapi::VlanApi {
  public:
    VlanDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::Vlan>> create(Call& call, xenapi::VlanCreate params) override;
    Task<void> destroy(Call& call, xenapi::VlanDestroy params) override;
    Task<xenapi::Ref<xenapi::Vlan>> pool_introduce(Call& call,
                                                   xenapi::VlanPoolIntroduce params) override;

  private:
    core::Core& core_;
    Networks& networks_;
};

/// A row for an interface of the host, with the pool-wide network of its device; used by PIF.scan
/// and start of day.
xenapi::Ref<xenapi::Pif> insert_physical_pif(db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                                             const agent::NicFacts& nic);

/// The records of a VLAN and its interface go.
struct VlanRows {
    xenapi::Ref<xenapi::Vlan> vlan;
    xenapi::Ref<xenapi::Pif> pif;
};

void erase_vlan(db::Txn& txn, const VlanRows& rows);
/// How many cards of each bond of the host have a link.
void count_bond_links(db::Txn& txn, xenapi::Ref<xenapi::Host> host);
/// Link state and such into PIF_metrics.
void land_nic(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Pif> pif,
              const agent::NicFacts& nic);

}  // namespace basalt::domain
