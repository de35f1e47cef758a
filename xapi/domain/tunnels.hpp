#pragma once
#include "idl/api/tunnel_api.hpp"
#include "xapi/domain/networks.hpp"

namespace basalt::domain {

/// Class tunnel. A private network of a host gets an interface of its own, tunnelN, and a bridge
/// without a card; who controls the switches joins the bridges of several hosts and says so in
/// `status`.
class TunnelDomain final : public xenapi::TunnelApi {
  public:
    TunnelDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::Tunnel>> create(Call& call, xenapi::TunnelCreate params) override;
    Task<void> destroy(Call& call, xenapi::TunnelDestroy params) override;

  private:
    core::Core& core_;
    Networks& networks_;
};

/// The records of a tunnel and its interface go.
struct TunnelRows {
    xenapi::Ref<xenapi::Tunnel> tunnel;
    xenapi::Ref<xenapi::Pif> access;
};

void erase_tunnel(db::Txn& txn, const TunnelRows& rows);

/// TRANSPORT_PIF_NOT_CONFIGURED when the interface is the inner end of a tunnel whose outer end has
/// no address.
void require_transport(const db::Txn& txn, xenapi::Ref<xenapi::Pif> access);

}  // namespace basalt::domain
