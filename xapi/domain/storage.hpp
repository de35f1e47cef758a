#pragma once
#include <optional>
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
    /// A new disk in `sr`; with a base (or null) it holds only what differs from that one.
    Task<xenapi::Ref<xenapi::Vdi>> copy_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                             xenapi::Ref<xenapi::Sr> sr,
                                             xenapi::Ref<xenapi::Vdi> base = {});

    /// Writes the content of `disk` over an existing one, or (`into` null) into a new one in `sr`.
    /// With a base only what differs from it. VDI_READONLY, VDI_TOO_SMALL, VDI_IN_USE of `into`,
    /// VDI_NOT_SPARSE; a copy that fails half-way leaves `into` with part of the content.
    struct Overwrite {
        xenapi::Ref<xenapi::Vdi> disk;
        xenapi::Ref<xenapi::Vdi> base;
        xenapi::Ref<xenapi::Vdi> into;
    };

    Task<xenapi::Ref<xenapi::Vdi>> copy_over(Call& call, Overwrite what);
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

    struct Duplicate {
        xenapi::Ref<xenapi::Vdi> disk;
        xenapi::Ref<xenapi::Sr> sr;
        Copy how;
        xenapi::Ref<xenapi::Vdi> base{};
    };

    Task<xenapi::Ref<xenapi::Vdi>> duplicate(Call& call, Duplicate what);
    Task<agent::VdiInfo> duplicate_files(Call& call, Duplicate what, agent::VdiSpec spec);
    [[nodiscard]] std::optional<agent::DiskRef> disk_ref_if(xenapi::Ref<xenapi::Vdi> disk) const;
    /// The SR's sizes after a change; a failure to read them is logged and no error.
    Task<void> refresh_sizes(xenapi::Ref<xenapi::Sr> sr);

    core::Core& core_;
};

}  // namespace basalt::domain
