// Events, messages, roles and subjects.
#include <algorithm>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/object_commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

// ---------------------------------------------------------------- event-wait

/// Whether an object fulfils all conditions: `field=value`, or `field=/=value` for its opposite.
Task<bool> fulfils(Invocation& run, const Object& object, std::string ref) {
    for (const auto& [name, value] : run.params.all()) {
        if (is_common_parameter(name) || name == "class") continue;
        const bool differs = value.starts_with("/=");
        bool same = false;
        same = co_await has_value(run.facts, object, ref, name, differs ? value.substr(2) : value);
        if (same == differs) co_return false;
    }
    co_return true;
}

Task<bool> any_fulfils(Invocation& run, const Object& object) {
    run.facts.forget();
    for (std::string& ref : co_await run.facts.all(std::string(object.class_name))) {
        const bool done = co_await fulfils(run, object, std::move(ref));
        if (done) co_return true;
    }
    co_return false;
}

Task<void> event_wait(Invocation& run) {
    const Object& object = object_named(run.params.need("class"));
    std::string token;
    for (;;) {
        // The token is older than what is read after it, so no change is missed in between.
        wire::Array classes;
        classes.emplace_back(std::string("*"));
        const wire::Value batch = co_await run.session.call(
            "event.from", args(std::move(classes), token, token.empty() ? 0.0 : 30.0));
        token = text_member(batch, "token");
        const bool done = co_await any_fulfils(run, object);
        if (done) co_return;
        co_await run.terminal.debug("still waiting");  // fails when the client has gone
    }
}

// ---------------------------------------------------------------- messages

struct Subject {
    std::string_view parameter;
    std::string_view cls;
};

Task<void> message_create(Invocation& run) {
    for (const Subject& subject : {Subject{"vm-uuid", "VM"}, Subject{"host-uuid", "Host"},
                                   Subject{"sr-uuid", "SR"}, Subject{"pool-uuid", "Pool"}}) {
        const std::string* uuid = run.params.find(subject.parameter);
        if (uuid == nullptr) continue;
        co_await run.session.call(
            "message.create",
            args(run.params.need("name"), parse_number("priority", run.params.need("priority")),
                 std::string(subject.cls), *uuid, run.params.need("body")));
        co_return;
    }
    throw CommandError(
        "Say which object the message is about: vm-uuid, host-uuid, sr-uuid, pool-uuid");
}

Task<void> message_destroy(Invocation& run) {
    std::string uuids = run.params.get("uuids");
    if (uuids.empty()) uuids = run.params.need("uuid");
    for (std::string& uuid : split_items(uuids)) {
        std::string message = co_await run.session.by_uuid("message", std::move(uuid));
        co_await run.session.call("message.destroy", args(std::move(message)));
    }
}

Task<void> message_destroy_all(Invocation& run) {
    wire::Object filters;
    for (const auto* name : {"before", "after", "priority"})
        if (const std::string* value = run.params.find(name)) filters.push_back({name, *value});
    co_await run.session.call("message.destroy_all", args(std::move(filters)));
}

// ---------------------------------------------------------------- subjects and roles

Task<void> subject_add(Invocation& run) {
    const std::string name = run.params.need("subject-name");
    const std::string id = co_await run.session.text("auth.get_subject_identifier", args(name));
    const wire::Value facts =
        co_await run.session.call("auth.get_subject_information_from_identifier", args(id));
    wire::Object record;
    record.push_back({"subject_identifier", id});
    record.push_back({"other_config", facts});
    const std::string subject =
        co_await run.session.text("subject.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("subject", subject));
}

Task<void> change_role(Invocation& run, std::string method) {
    std::string subject = co_await run.session.by_uuid("subject", run.params.need("uuid"));
    std::string role;
    if (const std::string* uuid = run.params.find("role-uuid")) {
        role = co_await run.session.by_uuid("role", *uuid);
    } else {
        const wire::Value found =
            co_await run.session.call("role.get_by_name_label", args(run.params.need("role-name")));
        const auto* refs = found.get<wire::Array>();
        if (refs == nullptr || refs->empty()) throw CommandError("There is no such role");
        role = shown(refs->front());
    }
    co_await run.session.call(std::move(method), args(std::move(subject), std::move(role)));
}

Task<void> subject_role_add(Invocation& run) {
    return change_role(run, "subject.add_to_roles");
}

Task<void> subject_role_remove(Invocation& run) {
    return change_role(run, "subject.remove_from_roles");
}

Task<void> vm_crashdump_list(Invocation& run) {
    for (const std::string& vm : co_await select_vms(run)) {
        const wire::Value* record = co_await run.facts.record("VM", vm);
        if (record == nullptr) continue;
        for (const wire::Value& dump : list_member(*record, "crash_dumps"))
            co_await run.printer.item(co_await run.session.uuid_of("crashdump", shown(dump)));
    }
}

Task<void> vm_is_bios_customized(Invocation& run) {
    for (const std::string& vm : co_await select_vms(run, {.templates = true})) {
        const wire::Value strings = co_await run.session.call("VM.get_bios_strings", args(vm));
        const auto* entries = strings.get<wire::Object>();
        const bool customised = entries != nullptr && !entries->empty();
        co_await run.printer.item(customised ? "This VM is BIOS-customized."
                                             : "This VM is BIOS-generic.");
    }
}

}  // namespace

const CommandFunctions& other_commands() {
    static const CommandFunctions all = {
        {"event-wait", event_wait},
        {"message-create", message_create},
        {"message-destroy", message_destroy},
        {"message-destroy-all", message_destroy_all},
        {"subject-add", subject_add},
        {"subject-role-add", subject_role_add},
        {"subject-role-remove", subject_role_remove},
        {"vm-crashdump-list", vm_crashdump_list},
        {"vm-is-bios-customized", vm_is_bios_customized},
    };
    return all;
}

}  // namespace basalt::cli
