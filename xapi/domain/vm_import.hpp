#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "idl/api/network_api.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vm_archive.hpp"

namespace basalt::domain {

struct ImportWish {
    /// Where new disks go; null: the pool's default.
    xenapi::Ref<xenapi::Sr> sr{};
    /// The same VMs come back: uuids and addresses stay.
    bool restore = false;
    /// What is missing here is left out instead of refused.
    bool force = false;
    /// Disks are made and filled; otherwise they are looked for.
    bool with_disks = true;
    /// uuids of disks of the archive -> of disks here.
    std::map<std::string, std::string> disks_here{};
};

struct ImportedDisk {
    xenapi::Ref<xenapi::Vdi> disk;
    std::uint64_t size_bytes = 0;  ///< as the archive says; the disk may be larger
};

/// What an archive of VMs becomes here. `make` creates everything but the contents of disks, marked
/// as under import; `keep` lands it; if it goes without, call `undo` first.
class VmImport {
  public:
    /// All outlive it.
    VmImport(Call& call, Storage& storage, xenapi::NetworkApi& networks, ImportWish wish);
    ~VmImport();
    VmImport(const VmImport&) = delete;
    VmImport& operator=(const VmImport&) = delete;

    /// Decides what becomes of each object, and changes nothing. Throws IMPORT_ERROR,
    /// IMPORT_ERROR_FAILED_TO_FIND_OBJECT, IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND, DUPLICATE_VM,
    /// DUPLICATE_MAC_SEED, DEFAULT_SR_NOT_FOUND, VDI_NOT_IN_MAP.
    void plan(std::vector<ArchivedObject> objects);
    Task<void> make();

    /// Disks to be filled, by id.
    [[nodiscard]] const std::map<std::string, ImportedDisk>& disks() const { return disks_; }

    /// The VMs, in the order of the archive, without snapshots.
    std::vector<xenapi::Ref<xenapi::Vm>> keep();
    /// Takes back what `make` did, as far as it came; in a coroutine that no cancel reaches.
    Task<void> undo();

  private:
    using Id = std::string;

    struct Device {
        Id id;
        Id vm;
    };

    template <class R>
    R parsed(const ArchivedObject& object) const;
    [[nodiscard]] const ArchivedObject* object(const Id& id, std::string_view cls) const;
    [[nodiscard]] Id named(const ArchivedObject& object, std::string_view field) const;
    [[nodiscard]] std::string text(const ArchivedObject& object, std::string_view field) const;

    void plan_vm(const ArchivedObject& object);
    void plan_drive(const ArchivedObject& object);
    void plan_new_disk(const ArchivedObject& disk);
    void plan_found_disk(const ArchivedObject& disk);
    void plan_media(const ArchivedObject& disk);
    void plan_interface(const ArchivedObject& object);
    void plan_module(const ArchivedObject& object);
    void plan_network(const Id& id);
    [[nodiscard]] bool holds_media(const ArchivedObject& disk) const;
    [[nodiscard]] bool sleeps(const ArchivedObject& vm) const;
    void require_no_duplicate(const xenapi::Vm& row) const;

    template <class R>
    void drop_taken_uuid(R& row) const;
    Task<void> make_networks();
    Task<void> make_disks();
    void insert_vm(db::Txn& txn, const Id& id);
    void insert_drives(db::Txn& txn, const Id& vm);
    void insert_interfaces(db::Txn& txn, const Id& vm);
    void insert_modules(db::Txn& txn, const Id& vm);
    void join_snapshots(db::Txn& txn);
    void land(db::Txn& txn, const Id& id);

    Call& call_;
    core::Core& core_;
    Storage& storage_;
    xenapi::NetworkApi& networks_api_;
    ImportWish wish_;
    Storage::Drafts drafts_;
    std::vector<ArchivedObject> objects_;
    std::map<Id, std::size_t> places_;  // in objects_
    std::vector<Id> vms_;               // to be made, in order
    std::map<Id, xenapi::Ref<xenapi::Vm>> made_vms_;
    std::map<Id, xenapi::Ref<xenapi::Vm>> templates_;  // default ones that are here already
    std::vector<Device> drives_;
    std::vector<Device> interfaces_;
    std::vector<Device> modules_;  // TPMs
    std::vector<Id> new_disks_;
    std::map<Id, ImportedDisk> disks_;
    std::map<Id, xenapi::Ref<xenapi::Vdi>> found_disks_;
    std::map<Id, xenapi::Ref<xenapi::Network>> networks_;  // null: to be made
    std::vector<xenapi::Ref<xenapi::Network>> made_networks_;
    std::map<Id, std::unique_ptr<core::Operation>> marks_;
    std::unique_ptr<core::Operation> disk_marks_;
};

}  // namespace basalt::domain
