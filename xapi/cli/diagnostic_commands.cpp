// What one asks to find out why something does not work.
#include "base/error.hpp"
#include "idl/runtime/type_ops.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/convert.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

Lines lines_of(const wire::Value& map) {
    Lines lines;
    if (const auto* members = map.get<wire::Object>())
        for (const auto& [name, value] : *members)
            lines.emplace_back(name, shown(value));
    return lines;
}

/// The items of a list, joined; rows of tables come as such lists.
std::string joined(const wire::Value& list) {
    std::string out;
    if (const auto* items = list.get<wire::Array>())
        for (const wire::Value& item : *items)
            out += (out.empty() ? "" : ", ") + shown(item);
    return out;
}

Task<void> print_rows(Invocation& run, const wire::Value& table) {
    std::vector<std::string> rows;
    if (const auto* list = table.get<wire::Array>())
        for (const wire::Value& row : *list)
            rows.push_back(joined(row));
    co_await run.printer.items(std::move(rows));
}

/// A member of a record as a user reads it; references become uuids with names.
Task<std::string> shown_member(Invocation& run, const wire::Value& record, std::string name,
                               std::string class_name) {
    std::string ref = text_member(record, name);
    if (is_null_ref(ref)) co_return std::string(not_in_database);
    co_return co_await run.facts.uuid_and_name(std::move(class_name), std::move(ref));
}

Task<void> license_status(Invocation& run) {
    std::vector<Lines> all;
    for (const std::string& host : co_await run.facts.all("host")) {
        const wire::Value* record = co_await run.facts.record("host", host);
        if (record == nullptr) continue;
        Lines lines;
        lines.emplace_back("uuid", text_member(*record, "uuid"));
        lines.emplace_back("hostname", text_member(*record, "hostname"));
        lines.emplace_back("edition", text_member(*record, "edition"));
        const wire::Value params = co_await run.session.call("host.get_license_params", args(host));
        std::string expiry = text_member(params, "expiry");
        lines.emplace_back("expires", expiry.empty() ? std::string("never") : std::move(expiry));
        all.push_back(std::move(lines));
    }
    co_await run.printer.records(std::move(all));
}

Task<void> net_stats(Invocation& run) {
    wire::Object filter;
    for (const auto* name : {"uri", "method", "params"})
        if (const std::string* value = run.params.find(name)) filter.push_back({name, *value});
    for (const std::string& host : co_await select_hosts(run)) {
        const wire::Value rows =
            co_await run.session.call("Diagnostics.network_stats", args(host, filter));
        co_await print_rows(run, rows);
    }
}

Task<void> timing_stats(Invocation& run) {
    std::vector<Lines> all;
    for (const std::string& host : co_await run.facts.all("host")) {
        const wire::Value stats =
            co_await run.session.call("host.get_diagnostic_timing_stats", args(host, true));
        Lines lines = lines_of(stats);
        std::string uuid = co_await run.session.uuid_of("host", host);
        lines.emplace(lines.begin(), "host-uuid", std::move(uuid));
        all.push_back(std::move(lines));
    }
    co_await run.printer.records(std::move(all));
}

/// The drives of a disk or of a VM, a record each.
Task<void> add_drives(Invocation& run, const wire::Value& owner, std::vector<Lines>& all) {
    for (const wire::Value& ref : list_member(owner, "VBDs")) {
        const wire::Value* drive = co_await run.facts.record("VBD", shown(ref));
        if (drive == nullptr) continue;
        Lines lines;
        lines.emplace_back("VBD", text_member(*drive, "uuid"));
        std::string vm = co_await shown_member(run, *drive, "VM", "VM");
        lines.emplace_back("VM", std::move(vm));
        std::string disk = co_await shown_member(run, *drive, "VDI", "VDI");
        lines.emplace_back("VDI", std::move(disk));
        lines.emplace_back("device", text_member(*drive, "userdevice"));
        lines.emplace_back("currently-attached", text_member(*drive, "currently_attached"));
        std::string operations = joined(wire::Value(list_member(*drive, "allowed_operations")));
        lines.emplace_back("allowed-operations", std::move(operations));
        all.push_back(std::move(lines));
    }
}

Task<void> vdi_status(Invocation& run) {
    const std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    const wire::Value* record = co_await run.facts.record("VDI", vdi);
    if (record == nullptr) throw CommandError("The disk is gone");
    const wire::Value disk = *record;
    Lines lines;
    lines.emplace_back("VDI", text_member(disk, "uuid"));
    lines.emplace_back("name-label", text_member(disk, "name_label"));
    std::string sr = co_await shown_member(run, disk, "SR", "SR");
    lines.emplace_back("SR", std::move(sr));
    lines.emplace_back("location", text_member(disk, "location"));
    lines.emplace_back("virtual-size", text_member(disk, "virtual_size"));
    lines.emplace_back("physical-utilisation", text_member(disk, "physical_utilisation"));
    lines.emplace_back("allowed-operations",
                       joined(wire::Value(list_member(disk, "allowed_operations"))));
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await add_drives(run, disk, all);
    co_await run.printer.records(std::move(all));
}

/// Every host with what keeps the VM from starting there.
Task<Lines> hosts_for(Invocation& run, std::string vm) {
    Lines lines;
    for (const std::string& host : co_await run.facts.all("host")) {
        std::string name = co_await run.facts.uuid_and_name("host", host);
        std::string why;
        try {
            co_await run.session.call("VM.assert_can_boot_here", args(vm, host));
        } catch (const ApiError& error) {
            why = error.what();
        }
        lines.emplace_back("on " + name, why.empty() ? std::string("can start") : std::move(why));
    }
    co_return lines;
}

Task<void> vm_status(Invocation& run) {
    const std::string vm = co_await run.session.by_uuid("VM", run.params.need("uuid"));
    const wire::Value* record = co_await run.facts.record("VM", vm);
    if (record == nullptr) throw CommandError("The VM is gone");
    const wire::Value row = *record;
    Lines lines;
    lines.emplace_back("VM", text_member(row, "uuid"));
    lines.emplace_back("name-label", text_member(row, "name_label"));
    lines.emplace_back("power-state", text_member(row, "power_state"));
    std::string host = co_await shown_member(run, row, "resident_on", "host");
    lines.emplace_back("resident-on", std::move(host));
    lines.emplace_back("allowed-operations",
                       joined(wire::Value(list_member(row, "allowed_operations"))));
    const Lines hosts = co_await hosts_for(run, vm);
    lines.insert(lines.end(), hosts.begin(), hosts.end());
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await add_drives(run, row, all);
    co_await run.printer.records(std::move(all));
}

// ---------------------------------------------------------------- callers

Task<void> caller_list_usage(Invocation& run) {
    const wire::Value rows = co_await run.session.call("Caller.query_all_usage");
    co_await print_rows(run, rows);
}

Task<void> caller_query_usage(Invocation& run) {
    std::string subject;
    std::string infix;
    if (const std::string* uuid = run.params.find("uuid")) {
        subject = co_await run.session.by_uuid("Caller", *uuid);
    } else {
        subject = run.params.need("group");
        infix = "group_";
    }
    Lines lines;
    std::string calls =
        co_await run.session.text("Caller.query_" + infix + "call_count", args(subject));
    lines.emplace_back("calls", std::move(calls));
    std::string tokens =
        co_await run.session.text("Caller.query_" + infix + "token_usage", args(subject));
    lines.emplace_back("tokens", std::move(tokens));
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await run.printer.records(std::move(all));
}

Task<void> rate_limit_create(Invocation& run) {
    const auto* number = &xenapi::type_ops<double>();
    wire::Object record;
    record.push_back({"name_label", run.params.get("name-label")});
    record.push_back({"name_description", run.params.get("name-description")});
    wire::Value burst =
        co_await typed_value(run.facts, number, "burst-size", run.params.need("burst-size"));
    record.push_back({"burst_size", std::move(burst)});
    wire::Value rate =
        co_await typed_value(run.facts, number, "fill-rate", run.params.need("fill-rate"));
    record.push_back({"fill_rate", std::move(rate)});
    const std::string limit =
        co_await run.session.text("Rate_limit.create", args(std::move(record)));
    for (std::string& uuid : split_items(run.params.get("caller-uuids"))) {
        std::string caller = co_await run.session.by_uuid("Caller", std::move(uuid));
        co_await run.session.call("Rate_limit.add_caller", args(limit, std::move(caller)));
    }
    co_await run.printer.item(co_await run.session.uuid_of("Rate_limit", limit));
}

}  // namespace

const CommandFunctions& diagnostic_commands() {
    static const CommandFunctions all = {
        {"diagnostic-license-status", license_status}, {"diagnostic-net-stats", net_stats},
        {"diagnostic-timing-stats", timing_stats},     {"diagnostic-vdi-status", vdi_status},
        {"diagnostic-vm-status", vm_status},           {"caller-list-usage", caller_list_usage},
        {"caller-query-usage", caller_query_usage},    {"rate-limit-create", rate_limit_create},
    };
    return all;
}

}  // namespace basalt::cli
