// Commands that take or send a file of the user's: blobs, updates, licences, certificates, backups.
#include <openssl/evp.h>

#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

using Kind = Instruction::Kind;

std::string base64_of(const std::string& bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
    auto* to = reinterpret_cast<unsigned char*>(out.data());
    out.resize(static_cast<std::size_t>(EVP_EncodeBlock(to, from, static_cast<int>(bytes.size()))));
    return out;
}

// ---------------------------------------------------------------- blobs

struct Owner {
    std::string_view parameter;
    std::string_view class_name;
};

Task<void> blob_create(Invocation& run) {
    constexpr Owner owners[] = {{"vm-uuid", "VM"},
                                {"host-uuid", "host"},
                                {"sr-uuid", "SR"},
                                {"network-uuid", "network"},
                                {"pool-uuid", "pool"}};
    for (const Owner& owner : owners) {
        const std::string* uuid = run.params.find(owner.parameter);
        if (uuid == nullptr) continue;
        const std::string class_name(owner.class_name);
        std::string object = co_await run.session.by_uuid(class_name, *uuid);
        wire::Array params = args(std::move(object), run.params.need("name"),
                                  run.params.get("mime-type"), run.params.truth("public"));
        const std::string blob =
            co_await run.session.text(class_name + ".create_new_blob", std::move(params));
        co_await run.printer.item(co_await run.session.uuid_of("blob", blob));
        co_return;
    }
    throw CommandError(
        "Say to which object the blob belongs: vm-uuid, host-uuid, sr-uuid, network-uuid, "
        "pool-uuid");
}

Task<void> move_blob(Invocation& run, Kind kind) {
    const std::string blob = co_await run.session.by_uuid("blob", run.params.need("uuid"));
    co_await transfer_with_task(run, kind, run.params.need("filename"), "/blob?ref=" + blob);
}

Task<void> blob_get(Invocation& run) {
    return move_blob(run, Kind::http_get);
}

Task<void> blob_put(Invocation& run) {
    return move_blob(run, Kind::http_put);
}

// ---------------------------------------------------------------- updates, backups, reports

Task<void> upload_update(Invocation& run) {
    std::string url = "/pool_patch_upload";
    if (const std::string* uuid = run.params.find("sr-uuid")) {
        const std::string sr = co_await run.session.by_uuid("SR", *uuid);
        url += "?sr_id=" + sr;
    }
    const std::string made = co_await transfer_with_task(
        run, Kind::http_put, run.params.need("file-name"), std::move(url));
    co_await run.printer.item(made);
}

Task<void> pool_sync_bundle(Invocation& run) {
    co_await transfer_with_task(run, Kind::http_put, run.params.need("filename"), "/bundle");
}

/// A path on the host that the parameters select, whoever serves this command.
Task<std::string> url_on_host(Invocation& run, std::string path) {
    const std::vector<std::string> hosts = co_await select_hosts(run);
    const wire::Value* host = co_await run.facts.record("host", hosts.front());
    const std::string address = host == nullptr ? std::string{} : text_member(*host, "address");
    const std::string here =
        co_await run.session.text("session.get_this_host", args(run.session.ref()));
    co_return hosts.front() == here ? path : "https://" + address + path;
}

Task<void> host_restore(Invocation& run) {
    std::string url = co_await url_on_host(run, "/host_restore");
    co_await transfer_with_task(run, Kind::http_put, run.params.need("file-name"), std::move(url));
}

Task<void> wlb_report(Invocation& run) {
    std::string url = "/wlb_report?report=" + url_encoded(run.params.need("report"));
    for (const auto& [name, value] : run.params.all())
        if (name != "report" && name != "filename")
            url += "&" + url_encoded(name) + "=" + url_encoded(value);
    co_await transfer_with_task(run, Kind::http_get, run.params.get("filename"), std::move(url));
}

Task<void> wlb_diagnostics(Invocation& run) {
    co_await transfer_with_task(run, Kind::http_get, run.params.get("filename"),
                                "/wlb_diagnostics");
}

// ---------------------------------------------------------------- texts within a call

Task<void> host_license_add(Invocation& run) {
    std::string host;
    if (const std::string* uuid = run.params.find("host-uuid")) {
        host = co_await run.session.by_uuid("host", *uuid);
    } else {
        host = co_await the_coordinator(run);
    }
    const std::string licence = co_await uploaded(run, run.params.need("license-file"));
    co_await run.session.call("host.license_add", args(std::move(host), base64_of(licence)));
}

Task<void> pool_install_trusted_certificate(Invocation& run) {
    std::string pool = co_await the_pool(run);
    const bool authority = run.params.truth("ca");
    std::string certificate = co_await uploaded(run, run.params.need("filename"));
    wire::Array purposes;
    for (std::string& purpose : split_items(run.params.get("purpose")))
        purposes.emplace_back(std::move(purpose));
    co_await run.session.call(
        "pool.install_trusted_certificate",
        args(std::move(pool), authority, std::move(certificate), std::move(purposes)));
}

Task<void> repository_introduce_remote_pool(Invocation& run) {
    std::string certificate = co_await uploaded(run, run.params.need("certificate-file"));
    wire::Array params = args(run.params.need("name-label"), run.params.get("name-description"),
                              run.params.need("binary-url"), std::move(certificate));
    const std::string made =
        co_await run.session.text("Repository.introduce_remote_pool", std::move(params));
    co_await run.printer.item(co_await run.session.uuid_of("Repository", made));
}

Task<void> vm_sysprep(Invocation& run) {
    constexpr std::int64_t timeout_seconds = 180;
    const std::string answers = co_await uploaded(run, run.params.need("filename"));
    std::int64_t timeout = timeout_seconds;
    if (const std::string* text = run.params.find("timeout"))
        timeout = parse_number("timeout", *text);
    for (const std::string& vm : co_await select_vms(run))
        co_await run.session.call("VM.sysprep", args(vm, answers, static_cast<double>(timeout)));
}

}  // namespace

Task<std::string> uploaded(Invocation& run, std::string path) {
    std::optional<std::string> content = co_await run.terminal.load(path);
    if (!content) throw CommandError("Failed to read the file " + path);
    co_return std::move(*content);
}

const CommandFunctions& file_commands() {
    static const CommandFunctions all = {
        {"blob-create", blob_create},
        {"blob-get", blob_get},
        {"blob-put", blob_put},
        {"patch-upload", upload_update},
        {"update-upload", upload_update},
        {"pool-sync-bundle", pool_sync_bundle},
        {"host-restore", host_restore},
        {"pool-retrieve-wlb-report", wlb_report},
        {"pool-retrieve-wlb-diagnostics", wlb_diagnostics},
        {"host-license-add", host_license_add},
        {"pool-install-trusted-certificate", pool_install_trusted_certificate},
        {"repository-introduce-remote-pool", repository_introduce_remote_pool},
        {"vm-sysprep", vm_sysprep},
    };
    return all;
}

}  // namespace basalt::cli
