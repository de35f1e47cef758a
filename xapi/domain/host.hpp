#pragma once
#include "idl/api/host_api.hpp"
#include "idl/api/pool_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class host.
class HostDomain final : public xenapi::HostApi {
  public:
    explicit HostDomain(core::Core& core) : core_(core) {}

    Task<void> enable(Call& call, xenapi::HostEnable params) override;
    Task<void> disable(Call& call, xenapi::HostDisable params) override;
    Task<std::string> call_plugin(Call& call, xenapi::HostCallPlugin params) override;
    Task<xenapi::DateTime> get_servertime(Call& call, xenapi::HostGetServertime params) override;
    Task<xenapi::DateTime> get_server_localtime(Call& call,
                                                xenapi::HostGetServerLocaltime params) override;
    Task<std::int64_t> compute_free_memory(Call& call,
                                           xenapi::HostComputeFreeMemory params) override;
    Task<std::int64_t> compute_memory_overhead(Call& call,
                                               xenapi::HostComputeMemoryOverhead params) override;
    Task<std::vector<xenapi::Ref<xenapi::Vm>>> get_uncooperative_resident_VMs(
        Call& call, xenapi::HostGetUncooperativeResidentVMs params) override;
    Task<xenapi::Ref<xenapi::Pif>> get_management_interface(
        Call& call, xenapi::HostGetManagementInterface params) override;
    Task<std::vector<std::string>> list_methods(Call& call) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
