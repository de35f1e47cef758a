#pragma once
#include "idl/api/vdi_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

class DatabaseCopies;
class Storage;

/// Class VDI: the disks. What is done to files is in storage.cpp; rows that come and go without
/// their files are in vdi_records.cpp, NBD is in vdi_nbd.cpp.
class VdiDomain final : public xenapi::VdiApi {
  public:
    VdiDomain(core::Core& core, Storage& storage, DatabaseCopies& copies)
        : core_(core), storage_(storage), copies_(copies) {}

    Task<xenapi::Ref<xenapi::Vdi>> create(Call& call, xenapi::VdiCreate params) override;
    Task<void> destroy(Call& call, xenapi::VdiDestroy params) override;
    Task<xenapi::Ref<xenapi::Vdi>> clone(Call& call, xenapi::VdiClone params) override;
    Task<xenapi::Ref<xenapi::Vdi>> copy(Call& call, xenapi::VdiCopy params) override;
    Task<xenapi::Ref<xenapi::Vdi>> snapshot(Call& call, xenapi::VdiSnapshot params) override;
    Task<void> resize(Call& call, xenapi::VdiResize params) override;
    Task<void> resize_online(Call& call, xenapi::VdiResizeOnline params) override;
    Task<void> revert(Call& call, xenapi::VdiRevert params) override;
    Task<void> forget(Call& call, xenapi::VdiForget params) override;
    Task<void> update(Call& call, xenapi::VdiUpdate params) override;
    Task<void> set_name_label(Call& call, xenapi::VdiSetNameLabel params) override;
    Task<void> set_name_description(Call& call, xenapi::VdiSetNameDescription params) override;
    Task<void> set_read_only(Call& call, xenapi::VdiSetReadOnly params) override;
    Task<void> set_sharable(Call& call, xenapi::VdiSetSharable params) override;
    Task<void> set_allow_caching(Call& call, xenapi::VdiSetAllowCaching params) override;
    Task<void> set_is_a_snapshot(Call& call, xenapi::VdiSetIsASnapshot params) override;
    Task<void> set_managed(Call& call, xenapi::VdiSetManaged params) override;
    Task<void> set_metadata_of_pool(Call& call, xenapi::VdiSetMetadataOfPool params) override;
    Task<void> set_missing(Call& call, xenapi::VdiSetMissing params) override;
    Task<void> set_physical_utilisation(Call& call,
                                        xenapi::VdiSetPhysicalUtilisation params) override;
    Task<void> set_snapshot_of(Call& call, xenapi::VdiSetSnapshotOf params) override;
    Task<void> set_snapshot_time(Call& call, xenapi::VdiSetSnapshotTime params) override;
    Task<void> set_virtual_size(Call& call, xenapi::VdiSetVirtualSize params) override;
    Task<void> set_on_boot(Call& call, xenapi::VdiSetOnBoot params) override;

    // Copies of databases: database_copies.hpp.
    Task<xenapi::Ref<xenapi::Session>> open_database(Call& call,
                                                     xenapi::VdiOpenDatabase params) override;
    Task<std::string> read_database_pool_uuid(Call& call,
                                              xenapi::VdiReadDatabasePoolUuid params) override;

    // vdi_changes.cpp
    Task<void> enable_cbt(Call& call, xenapi::VdiEnableCbt params) override;
    Task<void> disable_cbt(Call& call, xenapi::VdiDisableCbt params) override;
    Task<void> set_cbt_enabled(Call& call, xenapi::VdiSetCbtEnabled params) override;
    Task<void> data_destroy(Call& call, xenapi::VdiDataDestroy params) override;
    Task<std::string> list_changed_blocks(Call& call, xenapi::VdiListChangedBlocks params) override;

    // vdi_records.cpp
    Task<xenapi::Ref<xenapi::Vdi>> introduce(Call& call, xenapi::VdiIntroduce params) override;
    Task<xenapi::Ref<xenapi::Vdi>> pool_introduce(Call& call,
                                                  xenapi::VdiPoolIntroduce params) override;
    Task<xenapi::Ref<xenapi::Vdi>> db_introduce(Call& call, xenapi::VdiDbIntroduce params) override;
    Task<void> db_forget(Call& call, xenapi::VdiDbForget params) override;
    Task<void> force_unlock(Call& call, xenapi::VdiForceUnlock params) override;
    Task<std::string> generate_config(Call& call, xenapi::VdiGenerateConfig params) override;
    Task<std::string> checksum(Call& call, xenapi::VdiChecksum params) override;

    // vdi_nbd.cpp
    Task<std::vector<xenapi::VdiNbdServerInfo>> get_nbd_info(Call& call,
                                                             xenapi::VdiGetNbdInfo params) override;

  private:
    core::Core& core_;
    Storage& storage_;
    DatabaseCopies& copies_;
};

}  // namespace basalt::domain
