#pragma once
#include "idl/api/vbd_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class VBD: the drives of VMs.
class VbdDomain final : public xenapi::VbdApi {
  public:
    explicit VbdDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Vbd>> create(Call& call, xenapi::VbdCreate params) override;
    Task<void> destroy(Call& call, xenapi::VbdDestroy params) override;
    Task<void> plug(Call& call, xenapi::VbdPlug params) override;
    Task<void> unplug(Call& call, xenapi::VbdUnplug params) override;
    Task<void> unplug_force(Call& call, xenapi::VbdUnplugForce params) override;
    Task<void> unplug_force_no_safety_check(Call& call,
                                            xenapi::VbdUnplugForceNoSafetyCheck params) override;
    Task<void> insert(Call& call, xenapi::VbdInsert params) override;
    Task<void> eject(Call& call, xenapi::VbdEject params) override;
    Task<void> set_mode(Call& call, xenapi::VbdSetMode params) override;
    Task<void> assert_attachable(Call& call, xenapi::VbdAssertAttachable params) override;

    Task<std::string> pause(Call& call, xenapi::VbdPause params) override;
    Task<void> unpause(Call& call, xenapi::VbdUnpause params) override;

  private:
    Task<void> take_out(Call& call, xenapi::Ref<xenapi::Vbd> vbd, xenapi::VbdOperations operation);

    core::Core& core_;
};

}  // namespace basalt::domain
