// VMs and appliances of another pool's database, and what would run after hosts failed.
#include <optional>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

/// A session that looks at the database which `database:` names.
Task<std::string> foreign_session(Invocation& run) {
    for (const auto& [key, value] : run.params.map("database")) {
        if (key == "filename")
            co_return co_await run.session.text("session.create_from_db_file", args(shown(value)));
        if (key != "vdi-uuid") continue;
        std::string vdi = co_await run.session.by_uuid("VDI", shown(value));
        co_return co_await run.session.text("VDI.open_database", args(std::move(vdi)));
    }
    throw CommandError("Say which database: database:vdi-uuid=UUID or database:filename=FILE");
}

struct Recovery {
    std::string class_name;
    std::string message;
    bool forced = false;  ///< the message takes `force`
};

Task<void> in_foreign_database(Invocation& run, Recovery what) {
    std::string ref = co_await foreign_session(run);
    Session there = run.session.as(ref);
    std::optional<ApiError> failure;
    try {
        const std::string object = co_await there.by_uuid(what.class_name, run.params.need("uuid"));
        wire::Array params = args(object, run.session.ref());
        if (what.forced) params.emplace_back(run.params.truth("force"));
        co_await there.call(what.class_name + "." + what.message, std::move(params));
    } catch (const ApiError& error) {
        failure = error;
    }
    co_await there.call("session.logout");
    if (failure) throw *failure;
}

Task<void> vm_recover(Invocation& run) {
    return in_foreign_database(run, {"VM", "recover", true});
}

Task<void> vm_assert_can_be_recovered(Invocation& run) {
    return in_foreign_database(run, {"VM", "assert_can_be_recovered"});
}

Task<void> appliance_recover(Invocation& run) {
    return in_foreign_database(run, {"VM_appliance", "recover", true});
}

Task<void> appliance_assert_can_be_recovered(Invocation& run) {
    return in_foreign_database(run, {"VM_appliance", "assert_can_be_recovered"});
}

/// `vm-uuid=a,b restart-priority=x,y`, pair by pair.
Task<void> hypothetical_failures(Invocation& run) {
    const std::vector<std::string> uuids = split_items(run.params.get("vm-uuid"));
    const std::vector<std::string> priorities = split_items(run.params.get("restart-priority"));
    if (uuids.size() != priorities.size())
        throw CommandError("Every vm-uuid needs its restart-priority");
    wire::Object plan;
    for (std::size_t i = 0; i < uuids.size(); ++i) {
        std::string vm = co_await run.session.by_uuid("VM", uuids[i]);
        plan.push_back({std::move(vm), priorities[i]});
    }
    std::string answer = co_await run.session.text(
        "pool.ha_compute_hypothetical_max_host_failures_to_tolerate", args(std::move(plan)));
    co_await run.printer.item(std::move(answer));
}

/// Where the protected VMs of these hosts would go.
Task<void> failover_plan(Invocation& run) {
    wire::Array hosts;
    wire::Array vms;
    for (std::string& uuid : split_items(run.params.need("host-uuids"))) {
        const std::string host = co_await run.session.by_uuid("host", std::move(uuid));
        for (const std::string& vm : co_await run.facts.all("VM")) {
            const wire::Value* row = co_await run.facts.record("VM", vm);
            if (row == nullptr || true_member(*row, "is_control_domain")) continue;
            if (text_member(*row, "resident_on") == host) vms.emplace_back(vm);
        }
        hosts.emplace_back(host);
    }
    const wire::Value plan = co_await run.session.call("pool.ha_compute_vm_failover_plan",
                                                       args(std::move(hosts), std::move(vms)));
    std::vector<Lines> all;
    if (const auto* members = plan.get<wire::Object>()) {
        for (const auto& [vm, move] : *members) {
            Lines lines;
            std::string uuid = co_await run.session.uuid_of("VM", vm);
            lines.emplace_back("vm-uuid", std::move(uuid));
            if (const auto* facts = move.get<wire::Object>())
                for (const auto& [name, value] : *facts)
                    lines.emplace_back(name, shown(value));
            all.push_back(std::move(lines));
        }
    }
    co_await run.printer.records(std::move(all));
}

// ---------------------------------------------------------------- objects with two owners

Task<void> pvs_cache_storage_create(Invocation& run) {
    const std::vector<std::string> hosts = co_await select_hosts(run);
    wire::Object record;
    record.push_back({"host", hosts.front()});
    std::string sr = co_await run.session.by_uuid("SR", run.params.need("sr-uuid"));
    record.push_back({"SR", std::move(sr)});
    std::string site = co_await run.session.by_uuid("PVS_site", run.params.need("pvs-site-uuid"));
    record.push_back({"site", std::move(site)});
    record.push_back({"size", parse_bytes("size", run.params.need("size"))});
    const std::string made =
        co_await run.session.text("PVS_cache_storage.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("PVS_cache_storage", made));
}

Task<void> vgpu_create(Invocation& run) {
    std::string vm = co_await run.session.by_uuid("VM", run.params.need("vm-uuid"));
    std::string group =
        co_await run.session.by_uuid("GPU_group", run.params.need("gpu-group-uuid"));
    std::string type(null_ref);
    if (const std::string* uuid = run.params.find("vgpu-type-uuid"))
        type = co_await run.session.by_uuid("VGPU_type", *uuid);
    wire::Array params = args(std::move(vm), std::move(group), run.params.get("device", "0"),
                              wire::Object{}, std::move(type));
    const std::string made = co_await run.session.text("VGPU.create", std::move(params));
    co_await run.printer.item(co_await run.session.uuid_of("VGPU", made));
}

Task<void> logout_all_subjects(Invocation& run) {
    const wire::Value ids = co_await run.session.call("session.get_all_subject_identifiers");
    const auto* list = ids.get<wire::Array>();
    if (list == nullptr) co_return;
    for (const wire::Value& id : *list)
        co_await run.session.call("session.logout_subject_identifier", args(shown(id)));
}

}  // namespace

const CommandFunctions& recovery_commands() {
    static const CommandFunctions all = {
        {"vm-recover", vm_recover},
        {"vm-assert-can-be-recovered", vm_assert_can_be_recovered},
        {"appliance-recover", appliance_recover},
        {"appliance-assert-can-be-recovered", appliance_assert_can_be_recovered},
        {"pool-ha-compute-hypothetical-max-host-failures-to-tolerate", hypothetical_failures},
        {"pool-ha-compute-vm-failover-plan", failover_plan},
        {"pvs-cache-storage-create", pvs_cache_storage_create},
        {"vgpu-create", vgpu_create},
        {"session-subject-identifier-logout-all", logout_all_subjects},
    };
    return all;
}

}  // namespace basalt::cli
