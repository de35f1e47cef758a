#pragma once
#include "idl/api/network_sriov_api.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/storage.hpp"

namespace basalt::domain {

/// The card's record when the interface stands for the virtual functions of one; null: it does not.
/// By the cards' own rows, so that it holds within a transaction too.
xenapi::Ref<xenapi::NetworkSriov> sriov_of_logical(const db::Txn& txn,
                                                   xenapi::Ref<xenapi::Pif> pif);
/// The same for the interface of a card that is divided.
xenapi::Ref<xenapi::NetworkSriov> sriov_of_physical(const db::Txn& txn,
                                                    xenapi::Ref<xenapi::Pif> pif);

/// Whether guests on the network get virtual functions of cards instead of ports of a bridge.
bool is_sriov_network(const db::Txn& txn, const xenapi::Network& network);

/// How many further guests' interfaces the card behind `sriov` has functions for.
std::int64_t remaining_capacity(const db::Txn& txn, const xenapi::NetworkSriov& sriov);

/// Divides the card and lands its functions, or undoes it; for PIF.plug and PIF.unplug of the
/// interface that stands for them, which is then attached or not. Idempotent.
/// NETWORK_SRIOV_ENABLE_FAILED, NETWORK_SRIOV_DISABLE_FAILED [logical PIF, why].
Task<void> divide(core::Core& core, Call& call, xenapi::Ref<xenapi::NetworkSriov> sriov,
                  bool divided);

/// After a boot of the host, which forgets how its cards were divided. A card that cannot be
/// divided again is told in the log, and its interface is not attached.
Task<void> divide_again(core::Core& core, xenapi::Ref<xenapi::Host> host, agent::Host& agent,
                        NextOperation next);

/// Class network_sriov.
class NetworkSriovDomain final : public xenapi::NetworkSriovApi {
  public:
    NetworkSriovDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::NetworkSriov>> create(Call& call,
                                                   xenapi::NetworkSriovCreate params) override;
    Task<void> destroy(Call& call, xenapi::NetworkSriovDestroy params) override;
    Task<std::int64_t> get_remaining_capacity(
        Call& call, xenapi::NetworkSriovGetRemainingCapacity params) override;

  private:
    core::Core& core_;
    Networks& networks_;
};

}  // namespace basalt::domain
