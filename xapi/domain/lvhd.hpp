#pragma once
#include "idl/api/lvhd_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class LVHD. Its message is served by an extension script of the host, where one is installed.
class LvhdDomain final : public xenapi::LvhdApi {
  public:
    explicit LvhdDomain(core::Core& core) : core_(core) {}

    Task<std::string> enable_thin_provisioning(Call& call,
                                               xenapi::LvhdEnableThinProvisioning params) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
