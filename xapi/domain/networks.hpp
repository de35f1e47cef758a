#pragma once
#include "agent_verbs.hpp"
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
    explicit Networks(core::Core& core) : core_(core) {}

    Task<void> apply(Call& call, xenapi::Ref<xenapi::Host> host);
    /// To every connected host; a network without PIFs is on all of them.
    Task<void> apply_everywhere(Call& call);

  private:
    core::Core& core_;
};

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

/// Class PIF. What changes interfaces beyond plugging is in pif_settings.cpp.
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

  private:
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
/// How many cards of each bond of the host have a link.
void count_bond_links(db::Txn& txn, xenapi::Ref<xenapi::Host> host);
/// Link state and such into PIF_metrics.
void land_nic(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Pif> pif,
              const agent::NicFacts& nic);

}  // namespace basalt::domain
