// A VM's life: install, power, copies, the end.
#include <algorithm>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

Task<void> for_selected_vms(Invocation& run, ObjectWork work) {
    std::vector<std::string> vms = co_await select_vms(run);
    co_await for_each_object(run, "VM", std::move(vms), std::move(work));
}

/// A host by uuid, name or hostname.
Task<std::string> host_named(Invocation& run, std::string name) {
    std::vector<std::string> found;
    for (const std::string& ref : co_await run.facts.all("host")) {
        const wire::Value* host = co_await run.facts.record("host", ref);
        if (host == nullptr) continue;
        if (text_member(*host, "uuid") == name || text_member(*host, "name_label") == name ||
            text_member(*host, "hostname") == name) {
            found.push_back(ref);
        }
    }
    if (found.size() != 1) throw CommandError("No matching host found for '" + name + "'");
    co_return found.front();
}

Task<std::string> sr_wanted(Invocation& run) {
    if (const std::string* uuid = run.params.find("sr-uuid"))
        co_return co_await run.session.by_uuid("SR", *uuid);
    const std::string* name = run.params.find("sr-name-label");
    if (name == nullptr) co_return std::string{};
    const wire::Value found = co_await run.session.call("SR.get_by_name_label", args(*name));
    const auto* refs = found.get<wire::Array>();
    if (refs == nullptr || refs->size() != 1)
        throw CommandError("Not exactly one SR is named '" + *name + "'");
    co_return shown(refs->front());
}

Task<std::string> template_named(Invocation& run, std::string name) {
    std::vector<std::string> found;
    for (const std::string& ref : co_await run.facts.all("VM")) {
        const wire::Value* vm = co_await run.facts.record("VM", ref);
        if (vm == nullptr || !true_member(*vm, "is_a_template")) continue;
        if (text_member(*vm, "uuid") == name) co_return ref;
        if (text_member(*vm, "name_label") == name) found.push_back(ref);
    }
    if (found.empty()) throw CommandError("No templates matched");
    if (found.size() > 1)
        throw CommandError("Multiple templates matched; give the uuid as template=");
    co_return found.front();
}

/// Where the template's recipe for disks names no SR, or another one, it gets `sr_uuid`.
std::string with_sr(std::string recipe, const std::string& sr_uuid) {
    constexpr std::string_view attribute = "sr=\"";
    std::size_t at = 0;
    while ((at = recipe.find(attribute, at)) != std::string::npos) {
        const auto start = at + attribute.size();
        const auto end = recipe.find('"', start);
        if (end == std::string::npos) break;
        recipe.replace(start, end - start, sr_uuid);
        at = start + sr_uuid.size();
    }
    return recipe;
}

Task<void> choose_disks_sr(Invocation& run, std::string vm, std::string sr) {
    const wire::Value config = co_await run.session.call("VM.get_other_config", args(vm));
    const std::string recipe = text_member(config, "disks");
    if (recipe.empty()) co_return;
    const std::string uuid = co_await run.session.uuid_of("SR", sr);
    co_await run.session.call("VM.remove_from_other_config", args(vm, std::string("disks")));
    co_await run.session.call("VM.add_to_other_config",
                              args(vm, std::string("disks"), with_sr(recipe, uuid)));
}

Task<std::string> default_sr(Invocation& run) {
    const std::string pool = co_await the_pool(run);
    const wire::Value* record = co_await run.facts.record("pool", pool);
    const std::string sr = record == nullptr ? "" : text_member(*record, "default_SR");
    const wire::Value* row = co_await run.facts.record("SR", sr);
    co_return row == nullptr ? std::string{} : sr;
}

Task<void> finish_install(Invocation& run, std::string vm, std::string sr) {
    if (sr.empty()) {
        sr = co_await default_sr(run);
    }
    if (!sr.empty()) co_await choose_disks_sr(run, vm, sr);
    if (const std::string* from = run.params.find("copy-bios-strings-from")) {
        std::string host = co_await host_named(run, *from);
        co_await run.session.call("VM.copy_bios_strings", args(vm, std::move(host)));
    }
    co_await run.session.call("VM.provision", args(vm));
}

Task<void> vm_install(Invocation& run) {
    const std::string name = run.params.need("new-name-label");
    const std::string sr = co_await sr_wanted(run);
    const std::string* wanted = run.params.find("template");
    for (const auto* other : {"template-uuid", "template-name-label", "template-name"})
        if (wanted == nullptr) wanted = run.params.find(other);
    if (wanted == nullptr) throw MissingParameter("template");
    const std::string from = co_await template_named(run, *wanted);
    std::string vm;
    if (sr.empty()) {
        vm = co_await run.session.text("VM.clone", args(from, name));
    } else {
        vm = co_await run.session.text("VM.copy", args(from, name, sr));
    }
    std::optional<ApiError> failure;
    try {
        co_await finish_install(run, vm, sr);
    } catch (const ApiError& error) {
        failure = error;
    }
    if (failure) {
        co_await run.session.call("VM.destroy", args(vm));
        throw ApiError(*failure);
    }
    co_await run.printer.item(co_await run.session.uuid_of("VM", vm));
}

struct StartOptions {
    bool paused;
    bool force;
};

Task<void> start_one(Session& session, std::string vm, std::string host, StartOptions how) {
    if (host.empty()) {
        co_await session.call("VM.start", args(std::move(vm), how.paused, how.force));
    } else {
        co_await session.call("VM.start_on",
                              args(std::move(vm), std::move(host), how.paused, how.force));
    }
}

Task<void> vm_start(Invocation& run) {
    std::string host;
    if (const std::string* on = run.params.find("on")) host = co_await host_named(run, *on);
    const bool paused = run.params.truth("paused");
    const bool force = run.params.truth("force");
    co_await for_selected_vms(run, [&run, host, paused, force](std::string vm) {
        return start_one(run.session, std::move(vm), host, {paused, force});
    });
}

/// A message that takes nothing but the VM.
Task<void> plain_call(Session& session, std::string method, std::string vm) {
    co_await session.call(std::move(method), args(std::move(vm)));
}

Task<void> call_for_selected(Invocation& run, std::string method) {
    co_await for_selected_vms(run, [&run, method](std::string vm) {
        return plain_call(run.session, method, std::move(vm));
    });
}

Task<void> vm_shutdown(Invocation& run) {
    const bool force = run.params.truth("force");
    co_await call_for_selected(run, force ? "VM.hard_shutdown" : "VM.clean_shutdown");
}

Task<void> vm_reboot(Invocation& run) {
    const bool force = run.params.truth("force");
    co_await call_for_selected(run, force ? "VM.hard_reboot" : "VM.clean_reboot");
}

Task<void> vm_reset_powerstate(Invocation& run) {
    if (!run.params.truth("force")) {
        throw CommandError(
            "This declares the VM halted, whatever it does: two copies of it that write one disk "
            "destroy the disk. Say --force when the VM certainly runs nowhere");
    }
    co_await call_for_selected(run, "VM.power_state_reset");
}

Task<void> resume_one(Session& session, std::string vm, std::string host, bool force) {
    if (host.empty()) {
        co_await session.call("VM.resume", args(std::move(vm), false, force));
    } else {
        co_await session.call("VM.resume_on", args(std::move(vm), std::move(host), false, force));
    }
}

Task<void> vm_resume(Invocation& run) {
    std::string host;
    if (const std::string* on = run.params.find("on")) host = co_await host_named(run, *on);
    const bool force = run.params.truth("force");
    co_await for_selected_vms(run, [&run, host, force](std::string vm) {
        return resume_one(run.session, std::move(vm), host, force);
    });
}

Task<void> migrate_one(Session& session, std::string vm, std::string host, wire::Object options) {
    co_await session.call("VM.pool_migrate",
                          args(std::move(vm), std::move(host), std::move(options)));
}

Task<void> vm_migrate(Invocation& run) {
    if (run.params.has("remote-master"))
        throw ApiError("NOT_IMPLEMENTED", {"vm-migrate to another pool"});
    std::string host;
    if (const std::string* uuid = run.params.find("host-uuid")) {
        host = co_await run.session.by_uuid("host", *uuid);
    } else {
        host = co_await host_named(run, run.params.need("host"));
    }
    wire::Object options;
    for (const auto* option : {"live", "force", "compress"}) {
        if (const std::string* value = run.params.find(option)) options.push_back({option, *value});
    }
    co_await for_selected_vms(run, [&run, host, options](std::string vm) {
        return migrate_one(run.session, std::move(vm), host, options);
    });
}

/// clone, copy and checkpoint differ in the message and one parameter.
Task<void> copied(Invocation& run, std::string method, std::vector<std::string> vms,
                  std::optional<std::string> sr) {
    const std::string name = run.params.need("new-name-label");
    const std::string* description = run.params.find("new-name-description");
    for (const std::string& vm : vms) {
        wire::Array params = args(vm, name);
        if (sr) params.emplace_back(*sr);
        const std::string made = co_await run.session.text(method, std::move(params));
        if (description != nullptr)
            co_await run.session.call("VM.set_name_description", args(made, *description));
        co_await run.printer.item(co_await run.session.uuid_of("VM", made));
    }
}

Task<void> vm_clone(Invocation& run) {
    std::vector<std::string> vms = co_await select_vms(run, {.templates = true});
    co_await copied(run, "VM.clone", std::move(vms), std::nullopt);
}

Task<void> vm_copy(Invocation& run) {
    std::string sr{null_ref};
    if (const std::string* uuid = run.params.find("sr-uuid"))
        sr = co_await run.session.by_uuid("SR", *uuid);
    std::vector<std::string> vms = co_await select_vms(run, {.templates = true});
    co_await copied(run, "VM.copy", std::move(vms), std::move(sr));
}

Task<void> vm_checkpoint(Invocation& run) {
    std::vector<std::string> vms = co_await select_vms(run);
    co_await copied(run, "VM.checkpoint", std::move(vms), std::nullopt);
}

Task<void> vm_create(Invocation& run) {
    // The least that makes a record; everything else is for vm-param-set.
    constexpr std::int64_t memory = std::int64_t{256} << 20;
    wire::Object record;
    for (const auto* text :
         {"PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args", "PV_bootloader_args",
          "PV_legacy_bootloader_args", "HVM_boot_policy", "PCI_bus", "recommendations"})
        record.push_back({text, std::string{}});
    record.push_back({"name_label", run.params.need("name-label")});
    record.push_back({"name_description", run.params.get("name-description")});
    record.push_back({"is_a_template", false});
    record.push_back({"affinity", std::string(null_ref)});
    for (const auto* name :
         {"memory_static_max", "memory_dynamic_max", "memory_dynamic_min", "memory_static_min"})
        record.push_back({name, memory});
    record.push_back({"user_version", std::int64_t{0}});
    record.push_back({"VCPUs_max", std::int64_t{1}});
    record.push_back({"VCPUs_at_startup", std::int64_t{1}});
    for (const auto* name : {"VCPUs_params", "HVM_boot_params", "platform", "other_config"})
        record.push_back({name, wire::Object{}});
    record.push_back({"actions_after_shutdown", std::string("destroy")});
    record.push_back({"actions_after_reboot", std::string("restart")});
    record.push_back({"actions_after_crash", std::string("restart")});
    const std::string vm = co_await run.session.text("VM.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("VM", vm));
}

Task<void> appliance_shutdown(Invocation& run) {
    std::string uuid = run.params.need("uuid");
    std::string ref = co_await run.session.by_uuid("VM_appliance", std::move(uuid));
    const bool force = run.params.truth("force");
    co_await run.session.call(force ? "VM_appliance.hard_shutdown" : "VM_appliance.clean_shutdown",
                              args(std::move(ref)));
}

// ---------------------------------------------------------------- uninstall

/// The disks that go with a VM: those that nothing else uses, CDs left out.
Task<std::vector<std::string>> own_disks(Invocation& run, std::string vm) {
    std::vector<std::string> out;
    const wire::Value* record = co_await run.facts.record("VM", vm);
    if (record == nullptr) co_return out;
    for (const wire::Value& vbd : list_member(*record, "VBDs")) {
        const wire::Value* device = co_await run.facts.record("VBD", shown(vbd));
        if (device == nullptr || text_member(*device, "type") == "CD") continue;
        const std::string vdi = text_member(*device, "VDI");
        const wire::Value* disk = co_await run.facts.record("VDI", vdi);
        if (disk == nullptr || true_member(*disk, "sharable")) continue;
        if (list_member(*disk, "VBDs").size() == 1) out.push_back(vdi);
    }
    const std::string image = text_member(*record, "suspend_VDI");
    const wire::Value* suspended = co_await run.facts.record("VDI", image);
    if (suspended != nullptr) out.push_back(image);
    co_return out;
}

Task<void> destroy_disk(Session& session, std::string vdi) {
    try {
        co_await session.call("VDI.destroy", args(std::move(vdi)));
    } catch (const ApiError& error) {
        // The VM took it along, or a scan did.
        if (error.code() != "HANDLE_INVALID") throw;
    }
}

Task<void> uninstall_vms(Invocation& run, std::vector<std::string> vms) {
    std::string list = "The following items are about to be destroyed\n";
    std::vector<std::pair<std::string, std::vector<std::string>>> plan;
    for (const std::string& vm : vms) {
        list += "VM : " + co_await run.facts.uuid_and_name("VM", vm) + "\n";
        std::vector<std::string> disks = co_await own_disks(run, vm);
        for (const std::string& vdi : disks)
            list += "VDI: " + co_await run.facts.uuid_and_name("VDI", vdi) + "\n";
        plan.emplace_back(vm, std::move(disks));
    }
    list.pop_back();
    if (!run.params.truth("force")) {
        co_await run.terminal.print(list);
        co_await confirm(run, "");
    }
    for (auto& [vm, disks] : plan) {
        const std::string state = co_await run.session.text("VM.get_power_state", args(vm));
        if (state != "Halted") co_await run.session.call("VM.hard_shutdown", args(vm));
        co_await run.session.call("VM.destroy", args(vm));
        for (std::string& vdi : disks)
            co_await destroy_disk(run.session, std::move(vdi));
    }
    co_await run.terminal.print("All objects destroyed");
}

Task<void> vm_uninstall(Invocation& run) {
    std::vector<std::string> vms = co_await select_vms(run);
    co_await uninstall_vms(run, std::move(vms));
}

Task<void> one_uninstall(Invocation& run, const char* parameter) {
    const std::string* uuid = run.params.find(parameter);
    if (uuid == nullptr) uuid = &run.params.need("uuid");
    std::vector<std::string> one;
    one.push_back(co_await run.session.by_uuid("VM", *uuid));
    co_await uninstall_vms(run, std::move(one));
}

Task<void> template_uninstall(Invocation& run) {
    return one_uninstall(run, "template-uuid");
}

Task<void> snapshot_uninstall(Invocation& run) {
    return one_uninstall(run, "snapshot-uuid");
}

}  // namespace

const CommandFunctions& vm_commands() {
    static const CommandFunctions all = {
        {"vm-install", vm_install},
        {"vm-start", vm_start},
        {"vm-shutdown", vm_shutdown},
        {"vm-reboot", vm_reboot},
        {"vm-reset-powerstate", vm_reset_powerstate},
        {"vm-resume", vm_resume},
        {"vm-migrate", vm_migrate},
        {"vm-clone", vm_clone},
        {"vm-copy", vm_copy},
        {"vm-checkpoint", vm_checkpoint},
        {"vm-create", vm_create},
        {"vm-uninstall", vm_uninstall},
        {"template-uninstall", template_uninstall},
        {"snapshot-uninstall", snapshot_uninstall},
        {"appliance-shutdown", appliance_shutdown},
    };
    return all;
}

}  // namespace basalt::cli
