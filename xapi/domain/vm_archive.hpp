#pragma once
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "idl/classes.hpp"
#include "idl/runtime/value.hpp"
#include "xapi/core/core.hpp"

/// What an archive of VMs says of them: records of several classes that name each other by ids of
/// the archive.
namespace basalt::domain {

struct ArchivedObject {
    std::string cls;
    std::string id;
    /// The record as the API shows it; its references are ids, or OpaqueRef:NULL.
    wire::Value snapshot;
};

struct ArchivedDisk {
    std::string id;
    xenapi::Ref<xenapi::Vdi> disk;
};

struct VmArchive {
    /// Writes the records down; the records are those of the call of archive_of. It works, and may
    /// do so on a pool thread.
    std::function<std::vector<ArchivedObject>()> objects;
    std::vector<ArchivedDisk> disks;  // whose contents belong to it, by id as text
};

/// What archives call a field of a VTPM: `vTPM'_uuid` and so on.
[[nodiscard]] std::string archived_vtpm_field(std::string_view field);

struct ExportWish {
    std::vector<xenapi::Ref<xenapi::Vm>> vms;
    /// The contents of the disks travel too: then each VM stands for itself, not for a snapshot.
    bool with_disks = false;
    /// Otherwise the VMs are told as halted.
    bool preserve_power_state = false;
    /// Snapshots of the VMs, and the VMs of which they are snapshots.
    bool with_snapshots = false;
    /// Kinds of devices that are not told: vif, vbd, vgpu, vtpm.
    std::set<std::string> left_out;
};

/// Reads the records as they are now. Throws HANDLE_INVALID.
[[nodiscard]] VmArchive archive_of(const db::Database& db, const ExportWish& wish);

}  // namespace basalt::domain
