// Disks and storage repositories.
#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

Task<void> vdi_create(Invocation& run) {
    wire::Object record;
    record.push_back({"name_label", run.params.need("name-label")});
    record.push_back({"name_description", run.params.get("name-description")});
    std::string sr = co_await run.session.by_uuid("SR", run.params.need("sr-uuid"));
    record.push_back({"SR", std::move(sr)});
    record.push_back(
        {"virtual_size", parse_bytes("virtual-size", run.params.need("virtual-size"))});
    record.push_back({"type", run.params.get("type", "user")});
    record.push_back({"sharable", run.params.truth("sharable")});
    record.push_back({"read_only", run.params.truth("read-only")});
    record.push_back({"sm_config", run.params.map("sm-config")});
    record.push_back({"other_config", run.params.map("other-config")});
    record.push_back({"xenstore_data", wire::Object{}});
    wire::Array tags;
    for (const wire::Member& tag : run.params.map("tags"))
        tags.emplace_back(tag.name);
    record.push_back({"tags", std::move(tags)});
    const std::string vdi = co_await run.session.text("VDI.create", args(std::move(record)));
    co_await run.printer.item(co_await run.session.uuid_of("VDI", vdi));
}

/// All `driver-params-KEY=VALUE`.
wire::Object driver_params(const Params& params) {
    constexpr std::string_view prefix = "driver-params-";
    wire::Object out;
    for (const auto& [name, value] : params.all())
        if (name.starts_with(prefix)) out.push_back({name.substr(prefix.size()), value});
    return out;
}

Task<void> vdi_snapshot(Invocation& run) {
    std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    const std::string made =
        co_await run.session.text("VDI.snapshot", args(std::move(vdi), driver_params(run.params)));
    co_await run.printer.item(co_await run.session.uuid_of("VDI", made));
}

Task<void> vdi_clone(Invocation& run) {
    std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    const std::string made =
        co_await run.session.text("VDI.clone", args(std::move(vdi), driver_params(run.params)));
    if (const std::string* name = run.params.find("new-name-label"))
        co_await run.session.call("VDI.set_name_label", args(made, *name));
    if (const std::string* text = run.params.find("new-name-description"))
        co_await run.session.call("VDI.set_name_description", args(made, *text));
    co_await run.printer.item(co_await run.session.uuid_of("VDI", made));
}

Task<void> vdi_resize(Invocation& run) {
    std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    const std::int64_t size = parse_bytes("disk-size", run.params.need("disk-size"));
    const bool online = run.params.truth("online");
    co_await run.session.call(online ? "VDI.resize_online" : "VDI.resize",
                              args(std::move(vdi), size));
}

Task<void> vdi_unlock(Invocation& run) {
    if (!run.params.truth("force"))
        throw CommandError("This breaks the lock of a disk that may be in use: say --force");
    std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    co_await run.session.call("VDI.force_unlock", args(std::move(vdi)));
}

Task<void> vdi_pool_migrate(Invocation& run) {
    std::string vdi = co_await run.session.by_uuid("VDI", run.params.need("uuid"));
    std::string sr = co_await run.session.by_uuid("SR", run.params.need("sr-uuid"));
    wire::Object options;
    if (const std::string* format = run.params.find("dest-img-format"))
        options.push_back({"dest_img_format", *format});
    const std::string made = co_await run.session.text(
        "VDI.pool_migrate", args(std::move(vdi), std::move(sr), std::move(options)));
    co_await run.printer.item(co_await run.session.uuid_of("VDI", made));
}

Task<std::string> host_or_coordinator(Invocation& run) {
    if (const std::string* uuid = run.params.find("host-uuid"))
        co_return co_await run.session.by_uuid("host", *uuid);
    co_return co_await the_coordinator(run);
}

Task<void> sr_create(Invocation& run) {
    std::string host = co_await host_or_coordinator(run);
    const std::int64_t size = parse_bytes("physical-size", run.params.get("physical-size", "0"));
    wire::Array params = args(std::move(host), run.params.map("device-config"), size,
                              run.params.need("name-label"), run.params.get("name-description"),
                              run.params.need("type"), run.params.get("content-type"),
                              run.params.truth("shared"), run.params.map("sm-config"));
    const std::string sr = co_await run.session.text("SR.create", std::move(params));
    co_await run.printer.item(co_await run.session.uuid_of("SR", sr));
}

Task<void> sr_probe_ext(Invocation& run) {
    std::string host = co_await host_or_coordinator(run);
    const wire::Value found = co_await run.session.call(
        "SR.probe_ext", args(std::move(host), run.params.map("device-config"),
                             run.params.need("type"), run.params.map("sm-config")));
    const auto* results = found.get<wire::Array>();
    if (results == nullptr) co_return;
    std::vector<Lines> all;
    for (const wire::Value& result : *results) {
        Lines lines;
        if (const auto* members = result.get<wire::Object>()) {
            for (const auto& [name, value] : *members) {
                std::string text = shown(value);
                if (const auto* map = value.get<wire::Object>()) {
                    for (const auto& [key, item] : *map)
                        text += (text.empty() ? "" : "; ") + key + ": " + shown(item);
                }
                lines.emplace_back(name, std::move(text));
            }
        }
        all.push_back(std::move(lines));
    }
    co_await run.printer.records(std::move(all));
}

}  // namespace

const CommandFunctions& storage_commands() {
    static const CommandFunctions all = {
        {"vdi-create", vdi_create}, {"vdi-snapshot", vdi_snapshot},
        {"vdi-clone", vdi_clone},   {"vdi-resize", vdi_resize},
        {"vdi-unlock", vdi_unlock}, {"vdi-pool-migrate", vdi_pool_migrate},
        {"sr-create", sr_create},   {"sr-probe-ext", sr_probe_ext},
    };
    return all;
}

}  // namespace basalt::cli
