#pragma once
#include <string>

#include "idl/api/sdn_controller_api.hpp"
#include "idl/records/sdn_controller.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/networks.hpp"

namespace basalt::domain {

/// As NetworkWant.managers.
std::string manager_target(const xenapi::SdnController& controller);

/// Class SDN_controller: who may manage the switches of all hosts. There is one at most.
class SdnControllerDomain final : public xenapi::SdnControllerApi {
  public:
    SdnControllerDomain(core::Core& core, Networks& networks) : core_(core), networks_(networks) {}

    Task<xenapi::Ref<xenapi::SdnController>> introduce(
        Call& call, xenapi::SdnControllerIntroduce params) override;
    Task<void> forget(Call& call, xenapi::SdnControllerForget params) override;

  private:
    core::Core& core_;
    Networks& networks_;
};

}  // namespace basalt::domain
