#pragma once
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/operation.hpp"

namespace basalt::domain {

/// What several classes do with disks: makes, copies, snapshots and destroys them through the SR's
/// home host and keeps the rows true. Every verb undoes what it did when it fails.
class Storage {
  public:
    explicit Storage(core::Core& core) : core_(core) {}

    /// Of the host that may change the SR; see core/homes.hpp.
    agent::Host& home_agent(xenapi::Ref<xenapi::Sr> sr);

    /// A new disk; `row` says SR, size, names, type and configuration. SR_FULL and the driver's
    /// errors.
    Task<xenapi::Ref<xenapi::Vdi>> create_disk(Call& call, xenapi::Vdi row);
    /// The files and the row. VDI_IN_USE when something uses it.
    Task<void> destroy_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk);
    /// A writable disk with the same content, on the same SR.
    Task<xenapi::Ref<xenapi::Vdi>> clone_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk);
    /// A full copy, to the same or another SR.
    Task<xenapi::Ref<xenapi::Vdi>> copy_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                             xenapi::Ref<xenapi::Sr> sr);
    Task<xenapi::Ref<xenapi::Vdi>> snapshot_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk);
    Task<void> resize_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk, std::int64_t size,
                           bool online);

    /// Makes the rows of an SR what the driver found: new disks appear, lost ones go, sizes follow.
    void land_contents(db::Txn& txn, xenapi::Ref<xenapi::Sr> sr, const agent::SrContents& contents);
    static void land_sizes(db::Txn& txn, xenapi::Ref<xenapi::Sr> sr, const agent::SrInfo& info);
    Task<void> scan(Call& call, xenapi::Ref<xenapi::Sr> sr);

    [[nodiscard]] agent::DiskRef disk_ref(xenapi::Ref<xenapi::Vdi> disk) const;
    /// The uuid of the running VM that has the disk open, or empty.
    [[nodiscard]] std::string live_in(xenapi::Ref<xenapi::Vdi> disk) const;

  private:
    enum class Copy : std::uint8_t { clone, copy, snapshot };
    Task<xenapi::Ref<xenapi::Vdi>> duplicate(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                             xenapi::Ref<xenapi::Sr> sr, Copy how);
    Task<agent::VdiInfo> duplicate_files(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                         xenapi::Ref<xenapi::Sr> sr, Copy how, agent::VdiSpec spec);
    /// The SR's sizes after a change; a failure to read them is logged and no error.
    Task<void> refresh_sizes(xenapi::Ref<xenapi::Sr> sr);

    core::Core& core_;
};

}  // namespace basalt::domain
