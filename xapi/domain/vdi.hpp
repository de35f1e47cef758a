#pragma once
#include "idl/api/vdi_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

class Storage;

/// Class VDI: the disks. What is done to files is in storage.cpp.
class VdiDomain final : public xenapi::VdiApi {
  public:
    VdiDomain(core::Core& core, Storage& storage) : core_(core), storage_(storage) {}

    Task<xenapi::Ref<xenapi::Vdi>> create(Call& call, xenapi::VdiCreate params) override;
    Task<void> destroy(Call& call, xenapi::VdiDestroy params) override;
    Task<xenapi::Ref<xenapi::Vdi>> clone(Call& call, xenapi::VdiClone params) override;
    Task<xenapi::Ref<xenapi::Vdi>> copy(Call& call, xenapi::VdiCopy params) override;
    Task<xenapi::Ref<xenapi::Vdi>> snapshot(Call& call, xenapi::VdiSnapshot params) override;
    Task<void> resize(Call& call, xenapi::VdiResize params) override;
    Task<void> resize_online(Call& call, xenapi::VdiResizeOnline params) override;
    Task<void> forget(Call& call, xenapi::VdiForget params) override;
    Task<void> update(Call& call, xenapi::VdiUpdate params) override;
    Task<void> set_name_label(Call& call, xenapi::VdiSetNameLabel params) override;
    Task<void> set_name_description(Call& call, xenapi::VdiSetNameDescription params) override;
    Task<void> set_read_only(Call& call, xenapi::VdiSetReadOnly params) override;
    Task<void> set_sharable(Call& call, xenapi::VdiSetSharable params) override;

  private:
    core::Core& core_;
    Storage& storage_;
};

}  // namespace basalt::domain
