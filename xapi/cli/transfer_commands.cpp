// Commands whose bytes travel beside the protocol: consoles, images, files.
#include <algorithm>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

using Kind = Instruction::Kind;

/// The text console where there is one, otherwise any.
Task<std::string> best_console(Invocation& run, std::string vm) {
    const wire::Value* record = co_await run.facts.record("VM", std::move(vm));
    std::string best;
    if (record == nullptr) co_return best;
    for (const wire::Value& ref : list_member(*record, "consoles")) {
        const wire::Value* console = co_await run.facts.record("console", shown(ref));
        if (console == nullptr) continue;
        const bool text = text_member(*console, "protocol") == "vt100";
        if (best.empty() || text) best = shown(ref);
        if (text) break;
    }
    co_return best;
}

Task<void> console(Invocation& run) {
    const std::vector<std::string> vms = co_await select_vms(run, {.control_domains = true});
    const std::string ref = co_await best_console(run, vms.front());
    if (ref.empty()) throw CommandError("The VM has no console; is it running?");
    const wire::Value* row = co_await run.facts.record("console", ref);
    const std::string uuid = row == nullptr ? std::string{} : text_member(*row, "uuid");
    const wire::Value* vm = co_await run.facts.record("VM", vms.front());
    const std::string here =
        co_await run.session.text("session.get_this_host", args(run.session.ref()));
    // On this host a path is enough, whatever address the client came by.
    std::string url = "/console?uuid=" + uuid;
    if (vm != nullptr && row != nullptr && text_member(*vm, "resident_on") != here)
        url = text_member(*row, "location");
    url += "&session_id=" + run.session.ref();
    const bool worked = co_await run.terminal.transfer({Kind::http_connect, {}, std::move(url)});
    if (!worked) throw Exit{1};
}

Task<void> vdi_export(Invocation& run) {
    const std::string uuid = run.params.need("uuid");
    std::string url =
        "/export_raw_vdi?vdi=" + uuid + "&format=" + url_encoded(run.params.get("format", "raw"));
    if (const std::string* base = run.params.find("base")) url += "&base=" + *base;
    std::string file = run.params.need("filename");
    co_await run.session.by_uuid("VDI", uuid);
    co_await transfer_with_task(run, Kind::http_get, std::move(file), std::move(url));
    if (!run.params.need("filename").empty()) co_await run.terminal.print("Export succeeded");
}

Task<void> vdi_import(Invocation& run) {
    const std::string uuid = run.params.need("uuid");
    std::string file = run.params.need("filename");
    co_await run.session.by_uuid("VDI", uuid);
    std::string url =
        "/import_raw_vdi?vdi=" + uuid + "&format=" + url_encoded(run.params.get("format", "raw"));
    co_await transfer_with_task(run, Kind::http_put, std::move(file), std::move(url));
}

Task<void> export_one(Invocation& run, std::string uuid) {
    std::string url = "/export";
    if (run.params.truth("metadata")) url += "_metadata";
    url += "?uuid=" + uuid;
    if (const std::string* how = run.params.find("compress"))
        url += "&use_compression=" + url_encoded(*how);
    if (run.params.truth("preserve-power-state")) url += "&preserve_power_state=true";
    if (run.params.truth("include-snapshots")) url += "&export_snapshots=true";
    if (const std::string* types = run.params.find("excluded-device-types"))
        url += "&excluded_device_types=" + url_encoded(*types);
    co_await transfer_with_task(run, Kind::http_get, run.params.need("filename"), std::move(url));
    if (!run.params.need("filename").empty()) co_await run.terminal.print("Export succeeded");
}

Task<void> vm_export(Invocation& run) {
    const std::vector<std::string> vms = co_await select_vms(run, {.templates = true});
    if (vms.size() > 1) throw CommandError("Only one VM can be exported into a file");
    std::string uuid = co_await run.session.uuid_of("VM", vms.front());
    co_await export_one(run, std::move(uuid));
}

Task<void> template_export(Invocation& run) {
    std::string uuid = run.params.need("template-uuid");
    co_await run.session.by_uuid("VM", uuid);
    co_await export_one(run, std::move(uuid));
}

Task<void> snapshot_export(Invocation& run) {
    std::string uuid = run.params.need("snapshot-uuid");
    co_await run.session.by_uuid("VM", uuid);
    co_await export_one(run, std::move(uuid));
}

/// References in the text of a result, which is an array in XML.
std::vector<std::string> refs_in(const std::string& text) {
    std::vector<std::string> out;
    constexpr std::string_view prefix = "OpaqueRef:";
    for (std::size_t at = text.find(prefix); at != std::string::npos;
         at = text.find(prefix, at + 1))
        out.push_back(text.substr(at, prefix.size() + 36));
    return out;
}

Task<void> vm_import(Invocation& run) {
    if (run.params.has("url") || run.params.has("type"))
        throw ApiError("NOT_IMPLEMENTED", {"vm-import from another source than a file"});
    std::string url = run.params.truth("metadata") ? "/import_metadata?" : "/import?";
    url += std::string("restore=") + (run.params.truth("preserve") ? "true" : "false");
    url += std::string("&force=") + (run.params.truth("force") ? "true" : "false");
    if (run.params.truth("dry-run")) url += "&dry_run=true";
    for (const auto& [from, to] : run.params.map("vdi"))
        url += "&vdi:" + url_encoded(from) + "=" + url_encoded(shown(to));
    if (const std::string* uuid = run.params.find("sr-uuid")) {
        const std::string sr = co_await run.session.by_uuid("SR", *uuid);
        url += "&sr_id=" + sr;
    }
    const std::string result = co_await transfer_with_task(
        run, Kind::http_put, run.params.need("filename"), std::move(url));
    for (const std::string& vm : refs_in(result))
        co_await run.printer.item(co_await run.session.uuid_of("VM", vm));
}

Task<void> pool_dump_database(Invocation& run) {
    co_await transfer_with_task(run, Kind::http_get, run.params.need("file-name"),
                                "/pool/xmldbdump");
}

Task<void> pool_restore_database(Invocation& run) {
    const bool dry = run.params.truth("dry-run");
    co_await transfer_with_task(run, Kind::http_put, run.params.need("file-name"),
                                std::string("/pool/xmldbdump?dry_run=") + (dry ? "true" : "false"));
}

Task<void> audit_log_get(Invocation& run) {
    std::string url = "/audit_log";
    if (const std::string* since = run.params.find("since")) url += "?since=" + url_encoded(*since);
    co_await transfer_with_task(run, Kind::http_get, run.params.need("filename"), std::move(url));
}

Task<void> host_file(Invocation& run, std::string url, std::string parameter,
                     std::string otherwise) {
    const std::vector<std::string> hosts = co_await select_hosts(run);
    const wire::Value* host = co_await run.facts.record("host", hosts.front());
    const std::string address = host == nullptr ? std::string{} : text_member(*host, "address");
    const std::string here =
        co_await run.session.text("session.get_this_host", args(run.session.ref()));
    if (hosts.front() != here) url = "https://" + address + url;
    co_await transfer_with_task(run, Kind::http_get, run.params.get(parameter, otherwise),
                                std::move(url));
}

Task<void> host_logs_download(Invocation& run) {
    return host_file(run, "/host_logs_download", "file-name", "host-logs.tar.bz2");
}

Task<void> host_backup(Invocation& run) {
    return host_file(run, "/host_backup", "file-name", "");
}

Task<void> host_get_system_status(Invocation& run) {
    std::string url = "/system-status?output=" + url_encoded(run.params.get("output", "tar.bz2"));
    if (const std::string* entries = run.params.find("entries"))
        url += "&entries=" + url_encoded(*entries);
    return host_file(run, std::move(url), "filename", "");
}

}  // namespace

const CommandFunctions& transfer_commands() {
    static const CommandFunctions all = {
        {"console", console},
        {"vdi-export", vdi_export},
        {"vdi-import", vdi_import},
        {"vm-export", vm_export},
        {"template-export", template_export},
        {"snapshot-export-to-template", snapshot_export},
        {"vm-import", vm_import},
        {"pool-dump-database", pool_dump_database},
        {"pool-restore-database", pool_restore_database},
        {"audit-log-get", audit_log_get},
        {"host-logs-download", host_logs_download},
        {"host-backup", host_backup},
        {"host-get-system-status", host_get_system_status},
    };
    return all;
}

}  // namespace basalt::cli
