#pragma once
#include "idl/api/pool_api.hpp"
#include "xapi/domain/networks.hpp"

namespace basalt::domain {

/// Class pool.
class PoolDomain final : public xenapi::PoolApi {
  public:
    PoolDomain(core::Core& core, VlanDomain& vlans) : core_(core), vlans_(vlans) {}

    Task<std::vector<xenapi::Ref<xenapi::Pif>>> create_VLAN(Call& call,
                                                            xenapi::PoolCreateVlan params) override;
    Task<std::vector<xenapi::Ref<xenapi::Pif>>> create_VLAN_from_PIF(
        Call& call, xenapi::PoolCreateVlanFromPif params) override;
    Task<xenapi::Map<std::string, std::string>> get_license_state(
        Call& call, xenapi::PoolGetLicenseState params) override;
    /// Of the host that answers: this one leads.
    Task<bool> is_slave(Call& call, xenapi::PoolIsSlave params) override;

  private:
    struct Tagging {
        std::string device;
        xenapi::Ref<xenapi::Network> network;
        std::int64_t tag = 0;
    };

    Task<std::vector<xenapi::Ref<xenapi::Pif>>> tag_everywhere(Call& call, Tagging what);

    core::Core& core_;
    VlanDomain& vlans_;
};

}  // namespace basalt::domain
