#include "xapi/domain/vm_import.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/task.hpp"
#include "idl/records/vm_metrics.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/vtpm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::string_view null_ref = "OpaqueRef:NULL";

bool refers(const xenapi::TypeOps& type) {
    const auto is_ref = [](const xenapi::TypeOps* part) {
        return part != nullptr && part->kind == xenapi::TypeKind::ref;
    };
    return is_ref(&type) || is_ref(type.item) || is_ref(type.key);
}

wire::Value empty_value(const xenapi::TypeOps& type) {
    std::string out;
    wire::JsonWriter writer(out);
    type.write_json(type.make().get(), writer);
    return wire::parse_json(out);
}

/// The record without what means nothing here: references, which are ids, and operations. Members
/// that older releases did not have are added.
wire::Value adapted(const xenapi::ClassInfo& cls, const wire::Value& snapshot) {
    wire::Object out;
    for (const xenapi::FieldInfo& field : cls.fields) {
        if (field.internal_only) continue;
        const wire::Value* given = snapshot.find(field.name);
        const bool foreign = refers(*field.type) || field.name == "allowed_operations" ||
                             field.name == "current_operations" ||
                             field.name.starts_with("pending_guidances");
        if (foreign || (given == nullptr && !field.has_default)) {
            out.push_back({std::string(field.name), empty_value(*field.type)});
        } else if (given != nullptr) {
            out.push_back({std::string(field.name), *given});
        }
    }
    return out;
}

}  // namespace

VmImport::VmImport(Call& call, Storage& storage, NetworkApi& networks, ImportWish wish)
    : call_(call),
      core_(call.core()),
      storage_(storage),
      networks_api_(networks),
      wish_(std::move(wish)),
      drafts_(storage) {}

VmImport::~VmImport() = default;

template <class R>
R VmImport::parsed(const ArchivedObject& object) const {
    const xenapi::ClassInfo& cls = xenapi::class_of<R>();
    R row;
    try {
        xenapi::read_record(cls, adapted(cls, object.snapshot), &row, xenapi::RecordMode::full);
    } catch (const ApiError& error) {
        throw err::import_error(object.cls + " " + object.id + ": " + error.what());
    }
    return row;
}

const ArchivedObject* VmImport::object(const Id& id, std::string_view cls) const {
    const auto place = places_.find(id);
    if (place == places_.end() || objects_[place->second].cls != cls) return nullptr;
    return &objects_[place->second];
}

std::string VmImport::text(const ArchivedObject& object, std::string_view field) const {
    const wire::Value* value = object.snapshot.find(field);
    const auto* text = value == nullptr ? nullptr : value->get<std::string>();
    return text == nullptr ? std::string{} : *text;
}

/// The id that a field names; empty: none.
VmImport::Id VmImport::named(const ArchivedObject& object, std::string_view field) const {
    Id id = text(object, field);
    return id == null_ref ? Id{} : id;
}

// -- what becomes of what -------------------------------------------------------------------------

void VmImport::plan(std::vector<ArchivedObject> objects) {
    objects_ = std::move(objects);
    for (std::size_t i = 0; i < objects_.size(); ++i)
        if (!places_.emplace(objects_[i].id, i).second)
            throw err::import_error("two objects are called " + objects_[i].id);
    for (const ArchivedObject& object : objects_)
        if (object.cls == "VM") plan_vm(object);
    for (const ArchivedObject& object : objects_) {
        if (object.cls == "VBD") plan_drive(object);
        if (object.cls == "VIF") plan_interface(object);
        if (object.cls == "VTPM") plan_module(object);
    }
    if (vms_.empty() && templates_.empty()) throw err::import_error("there is no VM in it");
}

void VmImport::require_no_duplicate(const Vm& row) const {
    if (const auto same = call_.db().by_uuid<Vm>(row.uuid)) throw err::duplicate_vm(*same);
    const std::string seed = row.other_config.get(std::string("mac_seed"));
    if (seed.empty() || wish_.force) return;
    call_.db().each<Vm>([&](Ref<Vm>, const Vm& other) {
        if (other.other_config.get(std::string("mac_seed")) == seed)
            throw err::duplicate_mac_seed(seed);
    });
}

void VmImport::plan_vm(const ArchivedObject& object) {
    const Vm row = parsed<Vm>(object);
    if (row.is_control_domain) return;
    if (row.is_default_template) {
        for (const auto known : call_.db().by_name_label<Vm>(row.name_label))
            if (call_.db().get(known).is_default_template) templates_[object.id] = known;
        if (templates_.contains(object.id)) return;
    }
    require_memory_order(row);
    require_vcpu_order(row.VCPUs_at_startup, row.VCPUs_max, row.VCPUs_at_startup);
    if (wish_.restore) require_no_duplicate(row);
    vms_.push_back(object.id);
    if (!sleeps(object)) return;
    if (const ArchivedObject* image = this->object(named(object, "suspend_VDI"), "VDI"))
        plan_new_disk(*image);
}

/// Whether it was suspended and its memory image comes with it.
bool VmImport::sleeps(const ArchivedObject& vm) const {
    return wish_.with_disks && text(vm, "power_state") == "Suspended" &&
           object(named(vm, "suspend_VDI"), "VDI") != nullptr;
}

bool VmImport::holds_media(const ArchivedObject& disk) const {
    const ArchivedObject* sr = object(named(disk, "SR"), "SR");
    return sr != nullptr && text(*sr, "content_type") == "iso";
}

void VmImport::plan_drive(const ArchivedObject& drive) {
    const Id vm = named(drive, "VM");
    if (std::ranges::find(vms_, vm) == vms_.end()) return;
    drives_.push_back({drive.id, vm});
    const Id id = named(drive, "VDI");
    const ArchivedObject* disk = object(id, "VDI");
    if (disk == nullptr || found_disks_.contains(id)) return;
    if (text(drive, "type") == "CD" || holds_media(*disk)) return plan_media(*disk);
    if (wish_.with_disks) return plan_new_disk(*disk);
    plan_found_disk(*disk);
}

void VmImport::plan_new_disk(const ArchivedObject& disk) {
    if (std::ranges::find(new_disks_, disk.id) == new_disks_.end()) new_disks_.push_back(disk.id);
}

/// A disk that must be here already: the one that the caller says, or the same one.
void VmImport::plan_found_disk(const ArchivedObject& disk) {
    std::string uuid = text(disk, "uuid");
    if (const auto said = wish_.disks_here.find(uuid); said != wish_.disks_here.end()) {
        uuid = said->second;
        const auto ref = xenapi::parse_ref(uuid);
        if (ref && call_.db().find(Ref<Vdi>(*ref)) != nullptr) {
            found_disks_[disk.id] = Ref<Vdi>(*ref);
            return;
        }
        if (!call_.db().by_uuid<Vdi>(uuid)) throw err::vdi_not_in_map(uuid);
    }
    if (const auto here = call_.db().by_uuid<Vdi>(uuid)) {
        found_disks_[disk.id] = *here;
    } else if (!wish_.force) {
        throw err::import_error_attached_disks_not_found();
    }
}

/// The same disc, or one of the same name in a repository of discs; else the drive stays empty.
void VmImport::plan_media(const ArchivedObject& disk) {
    if (const auto here = call_.db().by_uuid<Vdi>(text(disk, "uuid"))) {
        found_disks_[disk.id] = *here;
        return;
    }
    for (const auto like : call_.db().by_name_label<Vdi>(text(disk, "name_label"))) {
        const Sr* sr = call_.db().find(call_.db().get(like).SR);
        if (sr != nullptr && sr->content_type == "iso") found_disks_[disk.id] = like;
    }
}

void VmImport::plan_interface(const ArchivedObject& interface) {
    const Id vm = named(interface, "VM");
    if (std::ranges::find(vms_, vm) == vms_.end()) return;
    const Id network = named(interface, "network");
    if (object(network, "network") == nullptr) {
        if (wish_.force) return;
        throw err::import_error_failed_to_find_object(network);
    }
    interfaces_.push_back({interface.id, vm});
    if (!networks_.contains(network)) plan_network(network);
}

void VmImport::plan_module(const ArchivedObject& module) {
    const Id vm = named(module, archived_vtpm_field("VM"));
    if (std::ranges::find(vms_, vm) == vms_.end()) return;
    if (std::ranges::contains(modules_, vm, &Device::vm))
        throw err::import_error("two trusted platform modules of one VM");
    if (!is_vtpm_contents(text(module, archived_vtpm_field("content"))))
        throw err::import_error("the contents of " + module.id + " are no TPM's");
    modules_.push_back({module.id, vm});
}

void VmImport::plan_network(const Id& id) {
    const ArchivedObject& network = *object(id, "network");
    Ref<Network>& chosen = networks_[id];
    const db::Database& db = call_.db();
    if (const auto same = db.by_uuid<Network>(text(network, "uuid"))) chosen = *same;
    const auto alike = db.by_name_label<Network>(text(network, "name_label"));
    if (!chosen && !alike.empty()) chosen = alike.front();
    const std::string bridge = text(network, "bridge");
    if (chosen || bridge.empty()) return;
    db.each<Network>([&](Ref<Network> ref, const Network& row) {
        if (row.bridge == bridge) chosen = ref;
    });
}

// -- making it ----------------------------------------------------------------------------------

template <class R>
void VmImport::drop_taken_uuid(R& row) const {
    if (!wish_.restore || call_.db().by_uuid<R>(row.uuid)) row.uuid.clear();
}

Task<void> VmImport::make() {
    co_await make_networks();
    co_await make_disks();
    for (const Id& id : vms_) {
        call_.db().transact([&](db::Txn& txn) {
            insert_vm(txn, id);
            insert_drives(txn, id);
            insert_interfaces(txn, id);
            insert_modules(txn, id);
        });
    }
    call_.db().transact([&](db::Txn& txn) {
        join_snapshots(txn);
        if (call_.task() && txn.find(call_.task()) != nullptr)
            txn.edit(call_.task()).other_config.insert_or_assign("object_creation", "complete");
    });
}

Task<void> VmImport::make_networks() {
    for (auto& [id, network] : networks_) {
        if (network) continue;
        NetworkCreate params{parsed<Network>(*object(id, "network"))};
        params.args.uuid.clear();
        params.args.bridge.clear();
        params.args.managed = true;
        network = co_await networks_api_.create(call_, std::move(params));
        made_networks_.push_back(network);
    }
}

Task<void> VmImport::make_disks() {
    Ref<Sr> sr = wish_.sr;
    if (!sr && !new_disks_.empty()) sr = call_.db().get(core_.pool).default_SR;
    if (!new_disks_.empty() && call_.db().find(sr) == nullptr) throw err::default_sr_not_found(sr);
    for (const Id& id : new_disks_) {
        Vdi row = parsed<Vdi>(*object(id, "VDI"));
        const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(row.virtual_size, 0));
        row.SR = sr;
        row.location.clear();
        row.sm_config.clear();
        row.is_a_snapshot = false;
        row.snapshot_time = {};
        row.cbt_enabled = false;
        row.physical_utilisation = 0;
        const Ref<Vdi> disk = co_await storage_.create_disk(call_, std::move(row), &drafts_);
        disks_[id] = {disk, size};
    }
    disk_marks_ = std::make_unique<core::Operation>(call_);
    call_.db().transact([&](db::Txn& txn) {
        for (const auto& [id, disk] : disks_)
            disk_marks_->mark(txn, disk.disk, VdiOperations::update);
    });
}

void VmImport::insert_vm(db::Txn& txn, const Id& id) {
    Vm row = parsed<Vm>(*object(id, "VM"));
    drop_taken_uuid(row);
    row.power_state = VmPowerState::halted;
    row.is_default_template = false;
    row.memory_target = 0;
    row.domid = -1;
    row.last_booted_record.clear();
    row.requires_reboot = false;
    row.domain_type = domain_type_of(row);
    row.memory_overhead = memory_overhead_bytes(row);
    row.other_config.erase(std::string("default_template"));
    if (!wish_.restore) row.other_config.insert_or_assign("mac_seed", core_.new_uuid());
    row.other_config.insert_or_assign(std::string(import_task_key), call_.task(txn).text());
    row.metrics = txn.insert(VmMetrics{.hvm = is_hvm(row)});
    const Ref<Vm> made = txn.insert(std::move(row));
    made_vms_[id] = made;
    auto marks = std::make_unique<core::Operation>(call_);
    marks->mark(txn, made, VmOperations::import);
    marks_[id] = std::move(marks);
}

void VmImport::insert_drives(db::Txn& txn, const Id& vm) {
    for (const Device& drive : drives_) {
        if (drive.vm != vm) continue;
        const ArchivedObject& object = *this->object(drive.id, "VBD");
        Vbd row = parsed<Vbd>(object);
        const Id disk = named(object, "VDI");
        if (const auto made = disks_.find(disk); made != disks_.end()) row.VDI = made->second.disk;
        if (const auto here = found_disks_.find(disk); here != found_disks_.end())
            row.VDI = here->second;
        // A disk drive is nothing without its disk.
        if (!row.VDI && row.type != VbdType::cd) continue;
        drop_taken_uuid(row);
        row.VM = made_vms_.at(vm);
        row.empty = !row.VDI;
        row.currently_attached = false;
        row.device.clear();
        row.status_code = 0;
        row.status_detail.clear();
        txn.insert(std::move(row));
    }
}

void VmImport::insert_interfaces(db::Txn& txn, const Id& vm) {
    const Ref<Vm> made = made_vms_.at(vm);
    const std::string seed = txn.get(made).other_config.get(std::string("mac_seed"));
    for (const Device& interface : interfaces_) {
        if (interface.vm != vm) continue;
        const ArchivedObject& object = *this->object(interface.id, "VIF");
        Vif row = parsed<Vif>(object);
        drop_taken_uuid(row);
        row.VM = made;
        row.network = networks_.at(named(object, "network"));
        row.currently_attached = false;
        row.status_code = 0;
        row.status_detail.clear();
        if (!wish_.restore) {
            row.MAC = mac_from_seed(seed, std::strtoll(row.device.c_str(), nullptr, 10));
            row.MAC_autogenerated = true;
        }
        txn.insert(std::move(row));
    }
}

void VmImport::insert_modules(db::Txn& txn, const Id& vm) {
    for (const Device& module : modules_) {
        if (module.vm != vm) continue;
        const ArchivedObject& object = *this->object(module.id, "VTPM");
        const auto says = [&](std::string_view field) {
            const wire::Value* value = object.snapshot.find(archived_vtpm_field(field));
            const bool* told = value == nullptr ? nullptr : value->get<bool>();
            return told != nullptr && *told;
        };
        Vtpm row{.uuid = text(object, archived_vtpm_field("uuid")),
                 .VM = made_vms_.at(vm),
                 .is_protected = says("is_protected"),
                 .is_unique = says("is_unique")};
        drop_taken_uuid(row);
        add_vtpm(txn, std::move(row), text(object, archived_vtpm_field("content")));
    }
}

/// Snapshots whose VM is not in the archive stand for themselves.
void VmImport::join_snapshots(db::Txn& txn) {
    for (const auto& [id, vm] : made_vms_) {
        const ArchivedObject& object = *this->object(id, "VM");
        const auto of = made_vms_.find(named(object, "snapshot_of"));
        const auto parent = made_vms_.find(named(object, "parent"));
        if (txn.get(vm).is_a_snapshot && of == made_vms_.end()) txn.edit(vm).is_a_snapshot = false;
        if (of != made_vms_.end()) txn.edit(vm).snapshot_of = of->second;
        if (parent != made_vms_.end()) txn.edit(vm).parent = parent->second;
    }
}

// -- the end --------------------------------------------------------------------------------------

void VmImport::land(db::Txn& txn, const Id& id) {
    const Ref<Vm> vm = made_vms_.at(id);
    marks_.at(id)->unmark(txn);
    Vm& row = txn.edit(vm);
    row.other_config.erase(import_task_key);
    const ArchivedObject& object = *this->object(id, "VM");
    const auto image = disks_.find(named(object, "suspend_VDI"));
    if (!sleeps(object) || image == disks_.end()) return;
    row.power_state = VmPowerState::suspended;
    row.suspend_VDI = image->second.disk;
}

std::vector<Ref<Vm>> VmImport::keep() {
    bool first = true;
    for (const Id& id : vms_) {
        call_.db().transact([&](db::Txn& txn) {
            // The contents with the first VM: mostly there is but one.
            if (first) drafts_.keep(txn);
            if (first && disk_marks_) disk_marks_->unmark(txn);
            land(txn, id);
        });
        first = false;
    }
    std::vector<Ref<Vm>> out;
    for (const ArchivedObject& object : objects_) {
        if (object.cls != "VM") continue;
        if (const auto known = templates_.find(object.id); known != templates_.end())
            out.push_back(known->second);
        const auto made = made_vms_.find(object.id);
        if (made != made_vms_.end() && !call_.db().get(made->second).is_a_snapshot)
            out.push_back(made->second);
    }
    return out;
}

Task<void> VmImport::undo() {
    for (const auto& [id, vm] : made_vms_)
        call_.db().transact_fact([&](db::Txn& txn) { erase_imported(txn, vm); });
    made_vms_.clear();
    for (const Ref<Network> network : made_networks_) {
        std::string failure;
        try {
            co_await networks_api_.destroy(call_, {network});
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (!failure.empty())
            log::warn("network_not_taken_back", {{"network", network.text()}, {"error", failure}});
    }
    made_networks_.clear();
}

}  // namespace basalt::domain
