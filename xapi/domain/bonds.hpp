#pragma once
#include "idl/api/bond_api.hpp"
#include "xapi/domain/networks.hpp"

namespace basalt::domain {

/// Class Bond. The interfaces of a host's cards become one: its own interface, of the device bondN,
/// takes their address, VLANs and guests over, and gives them back.
class BondDomain final : public xenapi::BondApi {
  public:
    BondDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::Bond>> create(Call& call, xenapi::BondCreate params) override;
    Task<void> destroy(Call& call, xenapi::BondDestroy params) override;
    Task<void> set_mode(Call& call, xenapi::BondSetMode params) override;
    Task<void> set_property(Call& call, xenapi::BondSetProperty params) override;

  private:
    /// Edits the bond's row and makes the host so; what the host refuses is taken back.
    Task<void> change(Call& call, xenapi::Ref<xenapi::Bond> bond,
                      std::function<void(xenapi::Bond&)> edit);

    core::Core& core_;
    Networks& networks_;
};

/// The records of a bond and its interface go; its cards are on their own again, the first one with
/// its address and VLANs.
void erase_bond(db::Txn& txn, xenapi::Ref<xenapi::Bond> bond);

}  // namespace basalt::domain
