#pragma once
#include <vector>

#include "idl/api/network_api.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/storage.hpp"

namespace basalt::domain {

/// VMs that come back from another database by their records alone, after a disaster: their disks
/// are in repositories that are reached from here. The caller's session looks at that database
/// (session.create_from_db_file), or is one of ours; `session_to` is of ours and says who may.
class Recovery {
  public:
    /// All outlive it.
    Recovery(core::Core& core, Storage& storage, xenapi::NetworkApi& networks)
        : core_(core), storage_(storage), networks_(networks) {}

    using Vms = std::vector<xenapi::Ref<xenapi::Vm>>;

    /// The database that the call's session looks at.
    [[nodiscard]] const db::Database& source(const Call& call) const;
    /// Repositories with disks of the VM that no host of ours reaches, as the source knows them.
    /// Throws SESSION_INVALID for a `session_to` that is none of ours.
    [[nodiscard]] std::vector<xenapi::Ref<xenapi::Sr>> missing(
        const Call& call, xenapi::Ref<xenapi::Vm> vm,
        xenapi::Ref<xenapi::Session> session_to) const;
    /// Throws VM_REQUIRES_SR for the first one.
    void require_reached(const Call& call, xenapi::Ref<xenapi::Vm> vm,
                         xenapi::Ref<xenapi::Session> session_to) const;
    /// The VMs with their snapshots, under the same uuids, or none. With `force` what is missing
    /// is left out. DUPLICATE_VM, IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND, RBAC_PERMISSION_DENIED.
    Task<Vms> recover(Call& call, Vms vms, xenapi::Ref<xenapi::Session> session_to, bool force);

  private:
    void require_allowed(const Call& call, xenapi::Ref<xenapi::Session> session_to) const;

    core::Core& core_;
    Storage& storage_;
    xenapi::NetworkApi& networks_;
};

}  // namespace basalt::domain
