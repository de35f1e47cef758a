#pragma once
#include "agent_verbs.hpp"
#include "idl/api/pbd_api.hpp"
#include "idl/api/sr_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

class DatabaseCopies;
class Storage;

/// Class PBD: an SR as a host reaches it.
class PbdDomain final : public xenapi::PbdApi {
  public:
    PbdDomain(core::Core& core, Storage& storage) : core_(core), storage_(storage) {}

    Task<xenapi::Ref<xenapi::Pbd>> create(Call& call, xenapi::PbdCreate params) override;
    Task<void> destroy(Call& call, xenapi::PbdDestroy params) override;
    Task<void> plug(Call& call, xenapi::PbdPlug params) override;
    Task<void> unplug(Call& call, xenapi::PbdUnplug params) override;
    Task<void> set_device_config(Call& call, xenapi::PbdSetDeviceConfig params) override;

    /// Attaches the SR on its host and lands what is in it; also for start of day.
    Task<void> attach(xenapi::Ref<xenapi::Pbd> pbd, agent::Host& agent, agent::Operation operation);

  private:
    core::Core& core_;
    Storage& storage_;
};

/// Class SR: storage repositories.
class SrDomain final : public xenapi::SrApi {
  public:
    SrDomain(core::Core& core, Storage& storage, PbdDomain& pbds, DatabaseCopies& copies)
        : core_(core), storage_(storage), pbds_(pbds), copies_(copies) {}

    Task<xenapi::Ref<xenapi::Sr>> create(Call& call, xenapi::SrCreate params) override;
    Task<xenapi::Ref<xenapi::Sr>> introduce(Call& call, xenapi::SrIntroduce params) override;
    Task<void> destroy(Call& call, xenapi::SrDestroy params) override;
    Task<void> forget(Call& call, xenapi::SrForget params) override;
    Task<void> scan(Call& call, xenapi::SrScan params) override;
    Task<void> update(Call& call, xenapi::SrUpdate params) override;
    Task<std::string> probe(Call& call, xenapi::SrProbe params) override;
    Task<std::vector<std::string>> get_supported_types(Call& call) override;
    Task<void> set_name_label(Call& call, xenapi::SrSetNameLabel params) override;
    Task<void> set_name_description(Call& call, xenapi::SrSetNameDescription params) override;
    Task<void> set_shared(Call& call, xenapi::SrSetShared params) override;

    // sr_facts.cpp
    Task<std::vector<xenapi::ProbeResult>> probe_ext(Call& call,
                                                     xenapi::SrProbeExt params) override;
    Task<std::string> make(Call& call, xenapi::SrMake params) override;
    Task<std::vector<xenapi::Ref<xenapi::Host>>> get_live_hosts(
        Call& call, xenapi::SrGetLiveHosts params) override;
    Task<void> set_physical_size(Call& call, xenapi::SrSetPhysicalSize params) override;
    Task<void> set_physical_utilisation(Call& call,
                                        xenapi::SrSetPhysicalUtilisation params) override;
    Task<void> set_virtual_allocation(Call& call, xenapi::SrSetVirtualAllocation params) override;
    Task<xenapi::Ref<xenapi::Blob>> create_new_blob(Call& call,
                                                    xenapi::SrCreateNewBlob params) override;

    // Copies of the database: database_copies.hpp.
    Task<void> assert_supports_database_replication(
        Call& call, xenapi::SrAssertSupportsDatabaseReplication params) override;
    Task<void> enable_database_replication(Call& call,
                                           xenapi::SrEnableDatabaseReplication params) override;
    Task<void> disable_database_replication(Call& call,
                                            xenapi::SrDisableDatabaseReplication params) override;

    // figures.cpp
    Task<std::vector<xenapi::DataSource>> get_data_sources(
        Call& call, xenapi::SrGetDataSources params) override;
    Task<double> query_data_source(Call& call, xenapi::SrQueryDataSource params) override;
    Task<void> record_data_source(Call& call, xenapi::SrRecordDataSource params) override;
    Task<void> forget_data_source_archives(Call& call,
                                           xenapi::SrForgetDataSourceArchives params) override;

  private:
    core::Core& core_;
    Storage& storage_;
    PbdDomain& pbds_;
    DatabaseCopies& copies_;
};

}  // namespace basalt::domain
