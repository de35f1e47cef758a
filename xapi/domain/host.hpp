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

    // figures.cpp
    Task<std::vector<xenapi::DataSource>> get_data_sources(
        Call& call, xenapi::HostGetDataSources params) override;
    Task<double> query_data_source(Call& call, xenapi::HostQueryDataSource params) override;
    Task<void> record_data_source(Call& call, xenapi::HostRecordDataSource params) override;
    Task<void> forget_data_source_archives(Call& call,
                                           xenapi::HostForgetDataSourceArchives params) override;
    Task<void> backup_rrds(Call& call, xenapi::HostBackupRrds params) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
