// Class VM: clones, copies, snapshots, and disks made from a template's wishes.
#include <pugixml.hpp>

#include <algorithm>
#include <charconv>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vm_parts.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// What a new VM keeps of its source: settings, not state.
Vm settings_of(const Vm& source) {
    Vm vm = source;
    vm.uuid.clear();
    vm.allowed_operations.clear();
    vm.current_operations.clear();
    vm.power_state = VmPowerState::halted;
    vm.is_default_template = false;
    vm.suspend_VDI = {};
    vm.resident_on = {};
    vm.scheduled_to_be_resident_on = {};
    vm.left_over_on = {};
    vm.memory_target = 0;
    vm.domid = -1;
    vm.metrics = {};
    vm.guest_metrics = {};
    vm.consoles.clear();
    vm.snapshots.clear();
    vm.children.clear();
    vm.blobs.clear();
    vm.last_booted_record.clear();
    vm.blocked_operations.clear();
    vm.appliance = {};
    vm.snapshot_schedule = {};
    vm.is_vmss_snapshot = false;
    vm.groups.clear();
    vm.other_config.erase(std::string("default_template"));
    vm.requires_reboot = false;
    return vm;
}

// A template's word that its VMs have one.
bool wants_vtpm(const Vm& vm) {
    return vm.VTPMs.empty() && vm.platform.get(std::string("vtpm")) == "true";
}

struct DiskWish {
    std::string device;
    std::int64_t size = 0;
    std::string sr;
    bool bootable = false;
    VdiType type = VdiType::system;
};

// <provision><disk device= size= sr= bootable= type=/></provision>: wire.md, section 12.
std::vector<DiskWish> parse_wishes(const std::string& xml) {
    pugi::xml_document document;
    if (!document.load_buffer(xml.data(), xml.size()))
        throw err::invalid_value("other_config:disks", xml);
    std::vector<DiskWish> wishes;
    for (const pugi::xml_node disk : document.child("provision").children("disk")) {
        DiskWish wish{.device = disk.attribute("device").as_string(),
                      .sr = disk.attribute("sr").as_string()};
        const std::string size = disk.attribute("size").as_string();
        const auto [end, error] =
            std::from_chars(size.data(), size.data() + size.size(), wish.size);
        if (error != std::errc{} || wish.size <= 0)
            throw err::invalid_value("other_config:disks", xml);
        wish.bootable = std::string_view(disk.attribute("bootable").as_string()) == "true";
        wish.type =
            parse_enum<VdiType>(disk.attribute("type").as_string()).value_or(VdiType::system);
        wishes.push_back(std::move(wish));
    }
    return wishes;
}

Ref<Sr> sr_of_wish(const db::Database& db, const core::Core& core, const DiskWish& wish) {
    if (!wish.sr.empty()) {
        const auto sr = db.by_uuid<Sr>(wish.sr);
        if (!sr) throw err::uuid_invalid("SR", wish.sr);
        return *sr;
    }
    const Ref<Sr> fallback = db.get(core.pool).default_SR;
    if (db.find(fallback) == nullptr) throw err::default_sr_not_found(fallback);
    return fallback;
}

}  // namespace

Task<Ref<Vm>> VmDomain::clone(Call& call, VmClone params) {
    return make_copy(
        call, {.source = params.vm, .name = std::move(params.new_name), .kind = CopyKind::clone});
}

Task<Ref<Vm>> VmDomain::copy(Call& call, VmCopy params) {
    if (params.sr && call.db().find(params.sr) == nullptr)
        throw err::handle_invalid("SR", params.sr);
    return make_copy(call, {.source = params.vm,
                            .name = std::move(params.new_name),
                            .kind = CopyKind::copy,
                            .sr = params.sr});
}

Task<Ref<Vm>> VmDomain::snapshot(Call& call, VmSnapshot params) {
    return make_copy(call, {.source = params.vm,
                            .name = std::move(params.new_name),
                            .kind = CopyKind::snapshot,
                            .ignored = std::move(params.ignore_vdis)});
}

Task<Ref<Vdi>> VmDomain::copy_disk(Call& call, CopySpec spec, Ref<Vdi> disk,
                                   Storage::Drafts& drafts) {
    switch (spec.kind) {
        case CopyKind::clone:
            return storage_.clone_disk(call, disk, &drafts);
        case CopyKind::snapshot:
            return storage_.snapshot_disk(call, disk, &drafts);
        case CopyKind::copy:
            break;
    }
    const Ref<Sr> sr = spec.sr ? spec.sr : call.db().get(disk).SR;
    return storage_.copy_disk(call, disk, sr, {}, &drafts);
}

std::vector<DriveCopy> drives_to_copy(const db::Txn& txn, const CopySpec& spec) {
    std::vector<DriveCopy> found;
    for (const auto vbd : txn.get(spec.source).VBDs) {
        const Vbd& row = txn.get(vbd);
        const bool left_out = std::ranges::find(spec.ignored, row.VDI) != spec.ignored.end();
        if (!(left_out && row.VDI)) found.push_back({vbd, row.VDI});
    }
    return found;
}

Task<std::vector<DriveCopy>> VmDomain::copy_drives(Call& call, CopySpec spec,
                                                   std::vector<DriveCopy> drives,
                                                   Storage::Drafts& drafts, Undo& undo) {
    Storage& storage = storage_;
    std::vector<DriveCopy> copies;
    for (const DriveCopy& drive : drives) {
        const bool own_disk = call.db().get(drive.source).type == VbdType::disk && drive.disk;
        if (!own_disk) {
            copies.push_back(drive);
            continue;
        }
        const Ref<Vdi> disk = co_await copy_disk(call, spec, drive.disk, drafts);
        undo.push("destroy copied disk",
                  [&storage, &call, disk] { return storage.destroy_disk(call, disk); });
        copies.push_back({drive.source, disk});
        call.progress(static_cast<double>(copies.size()) / static_cast<double>(drives.size() + 1));
    }
    co_return copies;
}

Ref<Vm> VmDomain::land_copy(db::Txn& txn, const CopySpec& spec,
                            const std::vector<DriveCopy>& copies) {
    const Vm source = txn.get(spec.source);
    Vm vm = settings_of(source);
    vm.name_label = spec.name;
    vm.metrics = txn.insert(VmMetrics{.hvm = is_hvm(vm)});
    const bool is_snapshot = spec.kind == CopyKind::snapshot;
    vm.is_a_snapshot = is_snapshot;
    vm.snapshot_of = is_snapshot ? spec.source : Ref<Vm>{};
    vm.snapshot_time = is_snapshot ? DateTime{core_.now_seconds()} : DateTime{};
    vm.parent = is_snapshot ? source.parent : Ref<Vm>{};
    if (is_snapshot) {
        vm.is_a_template = true;
        vm.snapshot_info = {{"power-state-at-snapshot", std::string(wire_text(source.power_state))},
                            {"disk-snapshot-type", "crash_consistent"}};
        vm.transportable_snapshot_id.clear();
    } else {
        // A copy of a snapshot is a template of its own.
        vm.snapshot_info = {};
        vm.other_config.insert_or_assign("mac_seed", core_.new_uuid());
    }
    const Ref<Vm> ref = txn.insert(std::move(vm));
    for (const DriveCopy& drive : copies)
        add_drive(txn, drive, ref);
    copy_nics(txn, source, ref, is_snapshot || spec.same_macs);
    copy_vtpms(txn, source, ref);
    if (is_snapshot) txn.edit(spec.source).parent = ref;
    return ref;
}

Task<Ref<Vm>> VmDomain::make_copy(Call& call, CopySpec spec) {
    constexpr VmOperations operations[] = {VmOperations::clone, VmOperations::copy,
                                           VmOperations::snapshot};
    const VmOperations operation = operations[static_cast<int>(spec.kind)];
    core::Operation marks(call);
    const std::vector<DriveCopy> drives = call.db().transact([&](db::Txn& txn) {
        require(txn, spec.source, operation);
        marks.mark(txn, spec.source, operation);
        return drives_to_copy(txn, spec);
    });
    Ref<Vm> made;
    Storage::Drafts drafts(storage_);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        const std::vector<DriveCopy> copies =
            co_await copy_drives(call, spec, drives, drafts, undo);
        co_await states_.collect(spec.source);
        made = call.db().transact([&](db::Txn& txn) {
            drafts.keep(txn);
            const Ref<Vm> ref = land_copy(txn, spec, copies);
            marks.unmark(txn);
            call.succeed(txn, Reply::of(ref));
            return ref;
        });
    });
    co_return made;
}

Task<void> VmDomain::provision(Call& call, VmProvision params) {
    core::Operation marks(call);
    const std::vector<DiskWish> wishes = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vm, VmOperations::provision);
        marks.mark(txn, params.vm, VmOperations::provision);
        const std::string xml = txn.get(params.vm).other_config.get(std::string("disks"));
        return xml.empty() ? std::vector<DiskWish>{} : parse_wishes(xml);
    });
    Storage& storage = storage_;
    Storage::Drafts drafts(storage_);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        std::vector<Ref<Vdi>> disks;
        for (const DiskWish& wish : wishes) {
            Vdi row;
            row.SR = sr_of_wish(call.db(), core_, wish);
            row.name_label = call.db().get(params.vm).name_label + " " + wish.device;
            row.name_description = "Created by template provisioner";
            row.virtual_size = wish.size;
            row.type = wish.type;
            const Ref<Vdi> disk = co_await storage.create_disk(call, std::move(row), &drafts);
            undo.push("destroy provisioned disk",
                      [&storage, &call, disk] { return storage.destroy_disk(call, disk); });
            disks.push_back(disk);
        }
        call.db().transact([&](db::Txn& txn) {
            drafts.keep(txn);
            for (std::size_t i = 0; i < disks.size(); ++i) {
                Vbd vbd;
                vbd.VM = params.vm;
                vbd.VDI = disks[i];
                vbd.userdevice = wishes[i].device;
                vbd.bootable = wishes[i].bootable;
                vbd.mode = VbdMode::rw;
                vbd.type = VbdType::disk;
                vbd.other_config = {{"owner", ""}};
                txn.insert(std::move(vbd));
            }
            if (wants_vtpm(txn.get(params.vm))) add_vtpm(txn, {.VM = params.vm}, {});
            Vm& vm = txn.edit(params.vm);
            vm.is_a_template = false;
            vm.is_default_template = false;
            vm.other_config.erase(std::string("disks"));
            marks.unmark(txn);
            call.succeed(txn);
        });
    });
}

}  // namespace basalt::domain
