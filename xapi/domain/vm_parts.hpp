#pragma once
#include <string>
#include <vector>

#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/db/txn.hpp"

/// What VMs that are made of other VMs are put together from: copies, snapshots, reverted ones.
namespace basalt::domain {

enum class CopyKind : std::uint8_t { clone, copy, snapshot };

struct CopySpec {
    xenapi::Ref<xenapi::Vm> source;
    std::string name;
    CopyKind kind;
    xenapi::Ref<xenapi::Sr> sr{};  // copy: where the disks go; null: where they are
    std::vector<xenapi::Ref<xenapi::Vdi>> ignored{};  // snapshot: left out
    bool same_macs = false;                           // as a guest that sleeps knows its interfaces
};

/// A drive of the source, and what is in it on the other side.
struct DriveCopy {
    xenapi::Ref<xenapi::Vbd> source;
    xenapi::Ref<xenapi::Vdi> disk;
};

[[nodiscard]] std::vector<DriveCopy> drives_to_copy(const db::Txn& txn, const CopySpec& spec);
/// The drive's like in `target`, not attached.
xenapi::Ref<xenapi::Vbd> add_drive(db::Txn& txn, const DriveCopy& drive,
                                   xenapi::Ref<xenapi::Vm> target);
/// The interfaces' likes in `target`. Generated addresses are generated anew unless `same_macs`.
void copy_nics(db::Txn& txn, const xenapi::Vm& source, xenapi::Ref<xenapi::Vm> target,
               bool same_macs);

}  // namespace basalt::domain
