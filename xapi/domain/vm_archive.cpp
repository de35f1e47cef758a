#include "xapi/domain/vm_archive.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_guest_metrics.hpp"
#include "idl/records/vm_metrics.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// -- which objects ----------------------------------------------------------------------------

/// The objects of the archive, each once, and their ids in the order in which they were found.
class Inventory {
  public:
    template <class R>
    bool add(Ref<R> ref) {
        if (ref.null() || ids_.contains(ref.uuid())) return false;
        ids_.emplace(ref.uuid(), "Ref:" + std::to_string(ids_.size()));
        members_[xenapi::ClassTraits<R>::index].push_back(ref.uuid());
        return true;
    }

    [[nodiscard]] const std::string* id(const Uuid& ref) const {
        const auto found = ids_.find(ref);
        return found == ids_.end() ? nullptr : &found->second;
    }

    template <class R>
    [[nodiscard]] std::vector<Ref<R>> all() const {
        std::vector<Ref<R>> out;
        if (const auto found = members_.find(xenapi::ClassTraits<R>::index);
            found != members_.end())
            for (const Uuid& ref : found->second)
                out.emplace_back(ref);
        return out;
    }

  private:
    std::map<Uuid, std::string> ids_;
    std::map<std::uint16_t, std::vector<Uuid>> members_;
};

bool travels_asleep(const Vm& vm, const ExportWish& wish) {
    return wish.preserve_power_state && vm.power_state == VmPowerState::suspended;
}

void add_disk(const db::Database& db, Inventory& found, Ref<Vdi> disk) {
    const Vdi* row = db.find(disk);
    if (row == nullptr) return;
    found.add(disk);
    if (db.find(row->SR) != nullptr) found.add(row->SR);
}

void add_devices(const db::Database& db, const ExportWish& wish, Inventory& found, const Vm& vm) {
    if (!wish.left_out.contains("vbd")) {
        for (const auto vbd : vm.VBDs) {
            found.add(vbd);
            add_disk(db, found, db.get(vbd).VDI);
        }
    }
    if (!wish.left_out.contains("vif")) {
        for (const auto vif : vm.VIFs) {
            found.add(vif);
            if (db.find(db.get(vif).network) != nullptr) found.add(db.get(vif).network);
        }
    }
}

void add_modules(const db::Database& db, const ExportWish& wish, Inventory& found, const Vm& vm) {
    if (wish.left_out.contains("vtpm")) return;
    for (const auto vtpm : vm.VTPMs)
        if (db.find(vtpm) != nullptr) found.add(vtpm);
}

void add_vm(const db::Database& db, const ExportWish& wish, Inventory& found, Ref<Vm> ref) {
    const Vm& vm = db.get(ref);
    if (!found.add(ref)) return;
    if (db.find(vm.metrics) != nullptr) found.add(vm.metrics);
    if (db.find(vm.guest_metrics) != nullptr) found.add(vm.guest_metrics);
    if (db.find(vm.resident_on) != nullptr) found.add(vm.resident_on);
    if (db.find(vm.affinity) != nullptr) found.add(vm.affinity);
    add_devices(db, wish, found, vm);
    add_modules(db, wish, found, vm);
    if (travels_asleep(vm, wish)) add_disk(db, found, vm.suspend_VDI);
    if (!wish.with_snapshots) return;
    for (const auto snapshot : vm.snapshots)
        add_vm(db, wish, found, snapshot);
    if (db.find(vm.snapshot_of) != nullptr) add_vm(db, wish, found, vm.snapshot_of);
    if (db.find(vm.parent) != nullptr) add_vm(db, wish, found, vm.parent);
}

// -- what is told of them -----------------------------------------------------------------------

template <class R>
void clear_operations(R& row) {
    row.allowed_operations.clear();
    row.current_operations.clear();
}

void prepare(Vm& row, const ExportWish& wish) {
    clear_operations(row);
    row.consoles.clear();
    row.blobs.clear();
    row.crash_dumps.clear();
    row.protection_policy = {};
    if (!travels_asleep(row, wish)) row.suspend_VDI = {};
    if (!wish.preserve_power_state) {
        row.power_state = VmPowerState::halted;
        row.domid = -1;
    }
    if (!wish.with_disks) return;
    row.is_a_snapshot = false;
    row.snapshot_of = {};
    row.snapshots.clear();
    row.parent = {};
    row.children.clear();
}

void prepare(Vbd& row, const ExportWish& wish) {
    clear_operations(row);
    row.metrics = {};
    row.currently_attached = row.currently_attached && wish.preserve_power_state;
}

void prepare(Vif& row, const ExportWish& wish) {
    clear_operations(row);
    row.metrics = {};
    row.currently_attached = row.currently_attached && wish.preserve_power_state;
}

void prepare(Vdi& row, const ExportWish& wish) {
    clear_operations(row);
    row.crash_dumps.clear();
    if (!wish.with_disks) return;
    row.is_a_snapshot = false;
    row.snapshot_of = {};
    row.snapshots.clear();
}

void prepare(Sr& row, const ExportWish& /*wish*/) {
    clear_operations(row);
    row.PBDs.clear();
    row.blobs.clear();
}

void prepare(Network& row, const ExportWish& /*wish*/) {
    clear_operations(row);
    row.PIFs.clear();
    row.blobs.clear();
}

// Whoever gets the archive learns the host's name, and nothing that it could be attacked with.
void prepare(Host& row, const ExportWish& /*wish*/) {
    Host told;
    told.uuid = row.uuid;
    told.name_label = row.name_label;
    told.name_description = row.name_description;
    told.hostname = row.hostname;
    told.address = row.address;
    told.software_version = row.software_version;
    told.cpu_info = row.cpu_info;
    row = std::move(told);
}

void prepare(VmMetrics& /*row*/, const ExportWish& /*wish*/) {}

void prepare(VmGuestMetrics& /*row*/, const ExportWish& /*wish*/) {}

wire::Value record_value(const xenapi::ClassInfo& cls, const void* record) {
    std::string text;
    wire::JsonWriter writer(text);
    xenapi::write_record(cls, record, writer);
    return wire::parse_json(text);
}

std::string id_or_null(const Inventory& found, const std::string& ref) {
    const auto uuid = xenapi::parse_ref(ref);
    const std::string* id = uuid ? found.id(*uuid) : nullptr;
    return id == nullptr ? std::string("OpaqueRef:NULL") : *id;
}

bool is_null_id(const std::string& id) {
    return id == "OpaqueRef:NULL";
}

void name_by_ids(const Inventory& found, wire::Array& refs) {
    for (wire::Value& ref : refs)
        ref = id_or_null(found, *ref.get<std::string>());
    std::erase_if(refs, [](const wire::Value& ref) { return is_null_id(*ref.get<std::string>()); });
}

/// A map that has references for keys or values: what is not in the archive goes.
void name_by_ids(const Inventory& found, wire::Object& map, const xenapi::TypeOps& type) {
    for (wire::Member& member : map) {
        if (type.key->kind == xenapi::TypeKind::ref) member.name = id_or_null(found, member.name);
        if (type.item->kind == xenapi::TypeKind::ref)
            member.value = id_or_null(found, *member.value.get<std::string>());
    }
    std::erase_if(map, [&](const wire::Member& member) {
        const auto* value = member.value.get<std::string>();
        return is_null_id(member.name) ||
               (type.item->kind == xenapi::TypeKind::ref && value != nullptr && is_null_id(*value));
    });
}

void translate(const Inventory& found, const xenapi::TypeOps& type, wire::Value& value) {
    using xenapi::TypeKind;
    if (auto* text = std::get_if<std::string>(&value.data)) {
        if (type.kind == TypeKind::ref) value = id_or_null(found, *text);
        if (type.kind == TypeKind::datetime) value = wire::DateTimeText{std::string(*text)};
    } else if (auto* items = std::get_if<wire::Array>(&value.data)) {
        if (type.kind == TypeKind::set && type.item->kind == TypeKind::ref)
            name_by_ids(found, *items);
    } else if (auto* members = std::get_if<wire::Object>(&value.data)) {
        if (type.kind == TypeKind::map &&
            (type.key->kind == TypeKind::ref || type.item->kind == TypeKind::ref))
            name_by_ids(found, *members, type);
    }
}

/// An object whose record has been prepared and not written down yet.
struct Draft {
    const xenapi::ClassInfo* cls;
    std::string id;
    std::shared_ptr<const void> record;
};

struct Drafts {
    Inventory found;
    std::vector<Draft> objects;
    std::vector<ArchivedObject> modules;
};

template <class R>
void draft(const db::Database& db, const ExportWish& wish, Drafts& drafts) {
    for (const Ref<R> ref : drafts.found.all<R>()) {
        auto row = std::make_shared<R>(db.get(ref));
        prepare(*row, wish);
        drafts.objects.push_back({&xenapi::class_of<R>(), *drafts.found.id(ref.uuid()), row});
    }
}

// Not as the API shows them: with their contents, and named as archives name them.
void draft_modules(const db::Database& db, Drafts& drafts) {
    for (const Ref<Vtpm> ref : drafts.found.all<Vtpm>()) {
        const Vtpm& row = db.get(ref);
        wire::Object snapshot;
        const auto add = [&](std::string_view name, wire::Value value) {
            snapshot.push_back({archived_vtpm_field(name), std::move(value)});
        };
        add("VM", id_or_null(drafts.found, row.VM.text()));
        add("uuid", row.uuid);
        add("is_unique", row.is_unique);
        add("is_protected", row.is_protected);
        add("content", row.is_unique ? std::string() : vtpm_contents(db, ref));
        drafts.modules.push_back(
            {"VTPM", *drafts.found.id(ref.uuid()), wire::Value(std::move(snapshot))});
    }
}

std::vector<ArchivedObject> told(const Drafts& drafts) {
    std::vector<ArchivedObject> out;
    out.reserve(drafts.objects.size());
    for (const Draft& object : drafts.objects) {
        wire::Value record = record_value(*object.cls, object.record.get());
        for (wire::Member& member : std::get<wire::Object>(record.data))
            if (const xenapi::FieldInfo* field = object.cls->field(member.name))
                translate(drafts.found, *field->type, member.value);
        out.push_back({std::string(object.cls->name), object.id, std::move(record)});
    }
    out.insert(out.end(), drafts.modules.begin(), drafts.modules.end());
    return out;
}

bool holds_media(const db::Database& db, Ref<Vdi> disk) {
    const Sr* sr = db.find(db.get(disk).SR);
    return sr != nullptr && sr->content_type == "iso";
}

void add_contents(const db::Database& db, const ExportWish& wish, const Inventory& found,
                  VmArchive& out) {
    std::map<std::string, Ref<Vdi>> disks;
    const auto add = [&](Ref<Vdi> disk) {
        const std::string* id = found.id(disk.uuid());
        if (id != nullptr && !holds_media(db, disk)) disks.emplace(*id, disk);
    };
    for (const auto vbd : found.all<Vbd>())
        if (db.get(vbd).type != VbdType::cd) add(db.get(vbd).VDI);
    for (const auto vm : found.all<Vm>())
        if (travels_asleep(db.get(vm), wish)) add(db.get(vm).suspend_VDI);
    for (const auto& [id, disk] : disks)
        out.disks.push_back({id, disk});
}

}  // namespace

std::string archived_vtpm_field(std::string_view field) {
    return "vTPM'_" + std::string(field);
}

VmArchive archive_of(const db::Database& db, const ExportWish& wish) {
    const auto drafts = std::make_shared<Drafts>();
    for (const auto vm : wish.vms)
        add_vm(db, wish, drafts->found, vm);
    draft<Host>(db, wish, *drafts);
    draft<Vm>(db, wish, *drafts);
    draft<VmMetrics>(db, wish, *drafts);
    draft<VmGuestMetrics>(db, wish, *drafts);
    draft<Vbd>(db, wish, *drafts);
    draft<Vif>(db, wish, *drafts);
    draft_modules(db, *drafts);
    draft<Network>(db, wish, *drafts);
    draft<Vdi>(db, wish, *drafts);
    draft<Sr>(db, wish, *drafts);
    VmArchive out;
    out.objects = [drafts] { return told(*drafts); };
    if (wish.with_disks) add_contents(db, wish, drafts->found, out);
    return out;
}

}  // namespace basalt::domain
