#pragma once
#include "idl/api/crashdump_api.hpp"
#include "idl/api/host_crashdump_api.hpp"
#include "idl/api/host_patch_api.hpp"
#include "xapi/core/core.hpp"

/// Records of what hosts do not make: dumps of guests and hosts that crashed, and old-style
/// patches. They come with a database that another server wrote (transfer/database.hpp).
namespace basalt::domain {

class Storage;

/// Class crashdump.
class CrashdumpDomain final : public xenapi::CrashdumpApi {
  public:
    CrashdumpDomain(core::Core& core, Storage& storage) : core_(core), storage_(storage) {}

    /// With its disk, as VDI.destroy does.
    Task<void> destroy(Call& call, xenapi::CrashdumpDestroy params) override;

  private:
    core::Core& core_;
    Storage& storage_;
};

/// Class host_crashdump.
class HostCrashdumpDomain final : public xenapi::HostCrashdumpApi {
  public:
    /// The record alone: no host keeps files of it.
    Task<void> destroy(Call& call, xenapi::HostCrashdumpDestroy params) override;
    Task<void> upload(Call& call, xenapi::HostCrashdumpUpload params) override;
};

/// Class host_patch.
class HostPatchDomain final : public xenapi::HostPatchApi {
  public:
    /// The record alone: no host keeps files of it.
    Task<void> destroy(Call& call, xenapi::HostPatchDestroy params) override;
    Task<std::string> apply(Call& call, xenapi::HostPatchApply params) override;
};

}  // namespace basalt::domain
