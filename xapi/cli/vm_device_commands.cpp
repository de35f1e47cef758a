// What is plugged into VMs: disks, CDs, interfaces.
#include <algorithm>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/object_commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

struct Drive {
    std::string vbd;
    std::string vdi;
    bool empty = true;
};

/// The block devices of a VM, of one type.
Task<std::vector<Drive>> drives(Invocation& run, std::string vm, std::string type) {
    std::vector<Drive> out;
    const wire::Value* record = co_await run.facts.record("VM", std::move(vm));
    if (record == nullptr) co_return out;
    for (const wire::Value& vbd : list_member(*record, "VBDs")) {
        const wire::Value* device = co_await run.facts.record("VBD", shown(vbd));
        if (device == nullptr || text_member(*device, "type") != type) continue;
        out.push_back({shown(vbd), text_member(*device, "VDI"), true_member(*device, "empty")});
    }
    co_return out;
}

/// The only image with that name in an SR of ISOs, or the only one whose name ends so.
Task<std::string> cd_named(Invocation& run, std::string name) {
    for (const std::string& ref : co_await run.facts.all("VDI")) {
        const wire::Value* vdi = co_await run.facts.record("VDI", ref);
        if (vdi == nullptr || text_member(*vdi, "name_label") != name) continue;
        const std::string sr_ref = text_member(*vdi, "SR");
        const wire::Value* sr = co_await run.facts.record("SR", sr_ref);
        if (sr != nullptr && text_member(*sr, "content_type") == "iso") co_return ref;
    }
    throw CommandError("CD " + name + " not found!");
}

wire::Object vbd_record(std::string vm, std::string vdi, std::string device) {
    wire::Object out;
    out.push_back({"VM", std::move(vm)});
    out.push_back({"empty", is_null_ref(vdi)});
    out.push_back({"VDI", std::move(vdi)});
    out.push_back({"userdevice", std::move(device)});
    out.push_back({"qos_algorithm_type", std::string{}});
    out.push_back({"qos_algorithm_params", wire::Object{}});
    out.push_back({"other_config", wire::Object{}});
    return out;
}

Task<void> vbd_create(Invocation& run) {
    std::string vm = co_await run.session.by_uuid("VM", run.params.need("vm-uuid"));
    std::string vdi{null_ref};
    if (const std::string* uuid = run.params.find("vdi-uuid"))
        vdi = co_await run.session.by_uuid("VDI", *uuid);
    std::string type = run.params.get("type", "Disk");
    std::string mode = run.params.get("mode", "RW");
    for (char& c : mode)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    for (const auto* known : {"CD", "Disk", "Floppy"}) {
        if (std::ranges::equal(
                type, std::string_view(known), {}, [](char c) { return std::tolower(c); },
                [](char c) { return std::tolower(c); }))
            type = known;
    }
    if (is_null_ref(vdi) && type != "CD")
        throw CommandError("Empty drives can only be made with type=CD");
    wire::Object record = vbd_record(std::move(vm), std::move(vdi), run.params.need("device"));
    record.push_back({"bootable", run.params.truth("bootable")});
    record.push_back({"type", std::move(type)});
    record.push_back({"mode", std::move(mode)});
    record.push_back({"unpluggable", run.params.truth("unpluggable", true)});
    const std::string vbd = co_await run.session.text("VBD.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("VBD", vbd));
}

Task<void> vbd_unplug(Invocation& run) {
    std::string vbd = co_await run.session.by_uuid("VBD", run.params.need("uuid"));
    const bool force = run.params.truth("force");
    co_await run.session.call(force ? "VBD.unplug_force" : "VBD.unplug", args(std::move(vbd)));
}

Task<void> vif_unplug(Invocation& run) {
    std::string vif = co_await run.session.by_uuid("VIF", run.params.need("uuid"));
    const bool force = run.params.truth("force");
    co_await run.session.call(force ? "VIF.unplug_force" : "VIF.unplug", args(std::move(vif)));
}

Task<void> vif_create(Invocation& run) {
    wire::Object record;
    std::string vm = co_await run.session.by_uuid("VM", run.params.need("vm-uuid"));
    std::string network = co_await run.session.by_uuid("network", run.params.need("network-uuid"));
    const wire::Value mtu = co_await run.session.call("network.get_MTU", args(network));
    // "random" is an older spelling of no address at all: the server makes one up.
    std::string mac = run.params.get("mac");
    if (mac == "random") mac.clear();
    std::string device = run.params.need("device");
    if (device == "autodetect") {
        const wire::Value free = co_await run.session.call("VM.get_allowed_VIF_devices", args(vm));
        const auto* devices = free.get<wire::Array>();
        if (devices == nullptr || devices->empty())
            throw CommandError("the VM has no free number for an interface");
        device = shown(devices->front());
    }
    record.push_back({"device", std::move(device)});
    record.push_back({"network", std::move(network)});
    record.push_back({"VM", std::move(vm)});
    record.push_back({"MAC", std::move(mac)});
    record.push_back({"MTU", mtu});
    record.push_back({"other_config", wire::Object{}});
    record.push_back({"qos_algorithm_type", std::string{}});
    record.push_back({"qos_algorithm_params", wire::Object{}});
    const std::string vif = co_await run.session.text("VIF.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("VIF", vif));
}

// ---------------------------------------------------------------- lists by VM

Task<void> list_drives(Invocation& run, std::vector<std::string> vms, std::string type) {
    for (const std::string& vm : vms) {
        int number = 0;
        const std::string name = co_await run.facts.uuid_and_name("VM", vm);
        for (const Drive& drive : co_await drives(run, vm, type)) {
            if (!run.params.truth("minimal")) {
                co_await run.terminal.print(type + " " + std::to_string(number++) + " VBD:");
            }
            std::vector<std::string> vbds(1, drive.vbd);
            co_await print_objects(run, object_named("vbd"), std::move(vbds),
                                   run.params.get("vbd-params"));
            if (is_null_ref(drive.vdi)) continue;
            if (!run.params.truth("minimal"))
                co_await run.terminal.print(type + " " + std::to_string(number - 1) + " VDI:");
            std::vector<std::string> vdis(1, drive.vdi);
            co_await print_objects(run, object_named("vdi"), std::move(vdis),
                                   run.params.get("vdi-params"));
        }
    }
}

Task<void> vm_disk_list(Invocation& run) {
    std::vector<std::string> vms =
        co_await select_vms(run, {.control_domains = true, .templates = true});
    co_await list_drives(run, std::move(vms), "Disk");
}

Task<void> vm_cd_list(Invocation& run) {
    std::vector<std::string> vms = co_await select_vms(run, {.templates = true});
    co_await list_drives(run, std::move(vms), "CD");
}

Task<void> snapshot_disk_list(Invocation& run) {
    const std::string* uuid = run.params.find("snapshot-uuid");
    if (uuid == nullptr) uuid = &run.params.need("uuid");
    std::vector<std::string> one;
    one.push_back(co_await run.session.by_uuid("VM", *uuid));
    co_await list_drives(run, std::move(one), "Disk");
}

Task<void> vm_vif_list(Invocation& run) {
    std::vector<std::string> vifs;
    for (const std::string& vm :
         co_await select_vms(run, {.control_domains = true, .templates = true})) {
        const wire::Value* record = co_await run.facts.record("VM", vm);
        if (record == nullptr) continue;
        for (const wire::Value& vif : list_member(*record, "VIFs"))
            vifs.push_back(shown(vif));
    }
    co_await print_objects(run, object_named("vif"), std::move(vifs), "");
}

Task<void> cd_list(Invocation& run) {
    std::vector<std::string> found;
    for (const std::string& ref : co_await run.facts.all("VDI")) {
        const wire::Value* vdi = co_await run.facts.record("VDI", ref);
        if (vdi == nullptr) continue;
        const std::string sr_ref = text_member(*vdi, "SR");
        const wire::Value* sr = co_await run.facts.record("SR", sr_ref);
        if (sr != nullptr && text_member(*sr, "content_type") == "iso") found.push_back(ref);
    }
    co_await print_objects(run, object_named("vdi"), std::move(found),
                           run.params.get("params", "name-label,uuid"));
}

// ---------------------------------------------------------------- CDs and disks

Task<void> vm_cd_add(Invocation& run) {
    const std::string vdi = co_await cd_named(run, run.params.need("cd-name"));
    for (const std::string& vm : co_await select_vms(run)) {
        wire::Object record = vbd_record(vm, vdi, run.params.need("device"));
        record.push_back({"bootable", true});
        record.push_back({"type", std::string("CD")});
        record.push_back({"mode", std::string("RO")});
        record.push_back({"unpluggable", true});
        co_await run.session.call("VBD.create", args(std::move(record)));
    }
}

Task<void> vm_cd_insert(Invocation& run) {
    const std::string vdi = co_await cd_named(run, run.params.need("cd-name"));
    for (const std::string& vm : co_await select_vms(run)) {
        const std::vector<Drive> all = co_await drives(run, vm, "CD");
        const auto free = std::ranges::find_if(all, &Drive::empty);
        if (all.empty()) throw CommandError("The VM has no CD drive");
        if (free == all.end()) throw CommandError("The VM has no empty CD drive");
        co_await run.session.call("VBD.insert", args(free->vbd, vdi));
    }
}

Task<void> vm_cd_eject(Invocation& run) {
    for (const std::string& vm : co_await select_vms(run)) {
        const std::vector<Drive> all = co_await drives(run, vm, "CD");
        const auto full = std::ranges::find(all, false, &Drive::empty);
        if (full == all.end()) throw CommandError("The VM has no CD inserted");
        if (std::ranges::count(all, false, &Drive::empty) > 1)
            throw CommandError("The VM has several CDs inserted: use vbd-eject");
        co_await run.session.call("VBD.eject", args(full->vbd));
    }
}

Task<void> vm_cd_remove(Invocation& run) {
    const std::string name = run.params.need("cd-name");
    for (const std::string& vm : co_await select_vms(run)) {
        for (const Drive& drive : co_await drives(run, vm, "CD")) {
            const wire::Value* vdi = co_await run.facts.record("VDI", drive.vdi);
            if (vdi == nullptr || text_member(*vdi, "name_label") != name) continue;
            co_await run.session.call("VBD.destroy", args(drive.vbd));
        }
    }
}

Task<void> vm_disk_add(Invocation& run) {
    std::string sr;
    if (const std::string* uuid = run.params.find("sr-uuid")) {
        sr = co_await run.session.by_uuid("SR", *uuid);
    } else {
        const std::string pool = co_await the_pool(run);
        sr = co_await run.session.text("pool.get_default_SR", args(pool));
    }
    for (const std::string& vm : co_await select_vms(run)) {
        const wire::Value* row = co_await run.facts.record("VM", vm);
        wire::Object disk;
        disk.push_back({"name_label", "Disk of " + (row ? text_member(*row, "name_label") : vm)});
        disk.push_back({"name_description", std::string{}});
        disk.push_back({"SR", sr});
        disk.push_back({"virtual_size", parse_bytes("disk-size", run.params.need("disk-size"))});
        disk.push_back({"type", std::string("user")});
        disk.push_back({"sharable", false});
        disk.push_back({"read_only", false});
        disk.push_back({"other_config", wire::Object{}});
        const std::string vdi = co_await run.session.text("VDI.create", args(std::move(disk)));
        wire::Object record = vbd_record(vm, vdi, run.params.need("device"));
        record.push_back({"bootable", false});
        record.push_back({"type", std::string("Disk")});
        record.push_back({"mode", std::string("RW")});
        record.push_back({"unpluggable", true});
        co_await run.session.call("VBD.create", args(std::move(record)));
    }
}

Task<void> vm_disk_remove(Invocation& run) {
    const std::string device = run.params.need("device");
    for (const std::string& vm : co_await select_vms(run)) {
        for (const Drive& drive : co_await drives(run, vm, "Disk")) {
            const wire::Value* vbd = co_await run.facts.record("VBD", drive.vbd);
            if (vbd == nullptr) continue;
            if (text_member(*vbd, "userdevice") != device && text_member(*vbd, "device") != device)
                continue;
            co_await run.session.call("VBD.destroy", args(drive.vbd));
            co_await run.session.call("VDI.destroy", args(drive.vdi));
        }
    }
}

}  // namespace

const CommandFunctions& vm_device_commands() {
    static const CommandFunctions all = {
        {"vbd-create", vbd_create},
        {"vbd-unplug", vbd_unplug},
        {"vif-create", vif_create},
        {"vif-unplug", vif_unplug},
        {"vm-disk-list", vm_disk_list},
        {"vm-cd-list", vm_cd_list},
        {"vm-vif-list", vm_vif_list},
        {"snapshot-disk-list", snapshot_disk_list},
        {"cd-list", cd_list},
        {"vm-cd-add", vm_cd_add},
        {"vm-cd-insert", vm_cd_insert},
        {"vm-cd-eject", vm_cd_eject},
        {"vm-cd-remove", vm_cd_remove},
        {"vm-disk-add", vm_disk_add},
        {"vm-disk-remove", vm_disk_remove},
    };
    return all;
}

}  // namespace basalt::cli
