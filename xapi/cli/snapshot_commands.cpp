// Snapshots of VMs.
#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/object_commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

Task<std::string> the_snapshot(Invocation& run) {
    const std::string* uuid = run.params.find("snapshot-uuid");
    if (uuid == nullptr) uuid = &run.params.need("uuid");
    co_return co_await run.session.by_uuid("VM", *uuid);
}

Task<void> vm_snapshot_with_quiesce(Invocation& run) {
    const std::string name = run.params.need("new-name-label");
    for (const std::string& vm : co_await select_vms(run)) {
        const std::string made =
            co_await run.session.text("VM.snapshot_with_quiesce", args(vm, name));
        if (const std::string* description = run.params.find("new-name-description"))
            co_await run.session.call("VM.set_name_description", args(made, *description));
        co_await run.printer.item(co_await run.session.uuid_of("VM", made));
    }
}

Task<void> vm_snapshot(Invocation& run) {
    const std::string name = run.params.need("new-name-label");
    wire::Array ignored;
    for (std::string& uuid : split_items(run.params.get("ignore-vdi-uuids"))) {
        std::string vdi = co_await run.session.by_uuid("VDI", std::move(uuid));
        ignored.emplace_back(std::move(vdi));
    }
    for (const std::string& vm : co_await select_vms(run)) {
        const std::string made = co_await run.session.text("VM.snapshot", args(vm, name, ignored));
        if (const std::string* description = run.params.find("new-name-description"))
            co_await run.session.call("VM.set_name_description", args(made, *description));
        co_await run.printer.item(co_await run.session.uuid_of("VM", made));
    }
}

Task<void> snapshot_destroy(Invocation& run) {
    std::string snapshot = co_await the_snapshot(run);
    const std::string state = co_await run.session.text("VM.get_power_state", args(snapshot));
    if (state != "Halted") co_await run.session.call("VM.hard_shutdown", args(snapshot));
    co_await run.session.call("VM.destroy", args(snapshot));
}

Task<void> snapshot_revert(Invocation& run) {
    std::string snapshot = co_await the_snapshot(run);
    co_await run.session.call("VM.revert", args(std::move(snapshot)));
}

Task<void> snapshot_reset_powerstate(Invocation& run) {
    std::string snapshot = co_await the_snapshot(run);
    co_await run.session.call("VM.power_state_reset", args(std::move(snapshot)));
}

Task<void> made_from_snapshot(Invocation& run, std::string method, wire::Array params) {
    const std::string made = co_await run.session.text(std::move(method), std::move(params));
    if (const std::string* description = run.params.find("new-name-description"))
        co_await run.session.call("VM.set_name_description", args(made, *description));
    co_await run.printer.item(co_await run.session.uuid_of("VM", made));
}

Task<void> snapshot_clone(Invocation& run) {
    std::string snapshot = co_await the_snapshot(run);
    const std::string name = run.params.need("new-name-label");
    co_await made_from_snapshot(run, "VM.clone", args(std::move(snapshot), name));
}

Task<void> snapshot_copy(Invocation& run) {
    std::string snapshot = co_await the_snapshot(run);
    const std::string name = run.params.need("new-name-label");
    std::string sr{null_ref};
    if (const std::string* uuid = run.params.find("sr-uuid"))
        sr = co_await run.session.by_uuid("SR", *uuid);
    co_await made_from_snapshot(run, "VM.copy", args(std::move(snapshot), name, std::move(sr)));
}

}  // namespace

const CommandFunctions& snapshot_commands() {
    static const CommandFunctions all = {
        {"vm-snapshot", vm_snapshot},
        {"vm-snapshot-with-quiesce", vm_snapshot_with_quiesce},
        {"snapshot-destroy", snapshot_destroy},
        {"snapshot-revert", snapshot_revert},
        {"snapshot-reset-powerstate", snapshot_reset_powerstate},
        {"snapshot-clone", snapshot_clone},
        {"snapshot-copy", snapshot_copy},
    };
    return all;
}

}  // namespace basalt::cli
