#pragma once
#include "idl/api/vif_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class VIF: the network cards of VMs.
class VifDomain final : public xenapi::VifApi {
  public:
    explicit VifDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Vif>> create(Call& call, xenapi::VifCreate params) override;
    Task<void> destroy(Call& call, xenapi::VifDestroy params) override;
    Task<void> plug(Call& call, xenapi::VifPlug params) override;
    Task<void> unplug(Call& call, xenapi::VifUnplug params) override;
    Task<void> unplug_force(Call& call, xenapi::VifUnplugForce params) override;

  private:
    Task<void> take_out(Call& call, xenapi::Ref<xenapi::Vif> vif, bool force);

    core::Core& core_;
};

}  // namespace basalt::domain
