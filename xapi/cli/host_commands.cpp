// Hosts and the pool: what takes a question, a file or more than one message.
#include "base/error.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

Task<std::string> host_by(Invocation& run, const char* parameter) {
    const std::string uuid = run.params.need(parameter);
    co_return co_await run.session.by_uuid("host", uuid);
}

Task<void> host_forget(Invocation& run) {
    std::string host = co_await host_by(run, "uuid");
    co_await confirm(run,
                     "WARNING: A host should only be forgotten if it is physically unrecoverable.\n"
                     "What was only stored there is lost with it.");
    co_await run.session.call("host.destroy", args(std::move(host)));
}

Task<void> host_declare_dead(Invocation& run) {
    std::string host = co_await host_by(run, "uuid");
    co_await confirm(run,
                     "WARNING: This host will be treated as dead: its VMs may then be started on "
                     "other hosts.\nIf it still runs them, their disks will be destroyed.");
    co_await run.session.call("host.declare_dead", args(std::move(host)));
}

Task<void> pool_eject(Invocation& run) {
    std::string host = co_await host_by(run, "host-uuid");
    const std::string name = co_await run.facts.uuid_and_name("host", host);
    co_await confirm(run, "WARNING: The host " + name +
                              " leaves the pool and is set up anew: all data on its local disks "
                              "is lost.");
    co_await run.session.call("pool.eject", args(std::move(host)));
}

Task<void> pool_join(Invocation& run) {
    const bool force = run.params.truth("force");
    co_await run.session.call(
        force ? "pool.join_force" : "pool.join",
        args(run.params.need("master-address"), run.params.need("master-username"),
             run.params.need("master-password")));
    co_await run.terminal.print(
        "Host agent will restart and attempt to join pool in 10.000 seconds...");
}

Task<void> host_cpu_info(Invocation& run) {
    std::string host;
    if (const std::string* uuid = run.params.find("uuid")) {
        host = co_await run.session.by_uuid("host", *uuid);
    } else {
        host = co_await the_coordinator(run);
    }
    const wire::Value info = co_await run.session.call("host.get_cpu_info", args(std::move(host)));
    Lines lines;
    if (const auto* members = info.get<wire::Object>())
        for (const auto& [name, value] : *members)
            lines.emplace_back(name, shown(value));
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await run.printer.records(std::move(all));
}

Task<void> cpu_features(Invocation& run, std::string method, std::string ref) {
    const wire::Value info = co_await run.session.call(std::move(method), args(std::move(ref)));
    Lines lines;
    for (const char* key : {"features_pv", "features_hvm", "features_pv_host", "features_hvm_host"})
        if (const wire::Value* features = info.find(key)) lines.emplace_back(key, shown(*features));
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await run.printer.records(std::move(all));
}

Task<void> host_get_cpu_features(Invocation& run) {
    std::string host;
    if (const std::string* uuid = run.params.find("uuid")) {
        host = co_await run.session.by_uuid("host", *uuid);
    } else {
        host = co_await the_coordinator(run);
    }
    co_await cpu_features(run, "host.get_cpu_info", std::move(host));
}

Task<void> pool_get_cpu_features(Invocation& run) {
    std::string pool = co_await the_pool(run);
    co_await cpu_features(run, "pool.get_cpu_info", std::move(pool));
}

/// The last part of a path: what the server calls a certificate that came from it.
std::string base_name(const std::string& path) {
    return path.substr(path.find_last_of('/') + 1);
}

Task<void> install_file(Invocation& run, std::string method) {
    const std::string path = run.params.need("filename");
    std::string content = co_await uploaded(run, path);
    co_await run.session.call(std::move(method), args(base_name(path), std::move(content)));
}

Task<void> pool_install_ca_certificate(Invocation& run) {
    return install_file(run, "pool.install_ca_certificate");
}

Task<void> pool_certificate_install(Invocation& run) {
    return install_file(run, "pool.certificate_install");
}

Task<void> pool_crl_install(Invocation& run) {
    return install_file(run, "pool.crl_install");
}

Task<void> host_server_certificate_install(Invocation& run) {
    const std::vector<std::string> hosts = co_await select_hosts(run);
    std::string certificate = co_await uploaded(run, run.params.need("certificate"));
    std::string key = co_await uploaded(run, run.params.need("private-key"));
    std::string chain;
    if (const std::string* path = run.params.find("certificate-chain"))
        chain = co_await uploaded(run, *path);
    co_await run.session.call(
        "host.install_server_certificate",
        args(hosts.front(), std::move(certificate), std::move(key), std::move(chain)));
}

Task<void> data_sources(Invocation& run, std::string method, std::vector<std::string> refs) {
    for (const std::string& ref : refs) {
        const wire::Value found = co_await run.session.call(method, args(ref));
        const auto* list = found.get<wire::Array>();
        if (list == nullptr) continue;
        std::vector<Lines> all;
        for (const wire::Value& source : *list) {
            Lines lines;
            for (const auto* name :
                 {"name_label", "name_description", "enabled", "standard", "min", "max", "units"})
                lines.emplace_back(name, text_member(source, name));
            all.push_back(std::move(lines));
        }
        co_await run.printer.records(std::move(all));
    }
}

Task<void> host_data_source_list(Invocation& run) {
    std::vector<std::string> hosts = co_await select_hosts(run);
    co_await data_sources(run, "host.get_data_sources", std::move(hosts));
}

Task<void> vm_data_source_list(Invocation& run) {
    std::vector<std::string> vms = co_await select_vms(run, {.control_domains = true});
    co_await data_sources(run, "VM.get_data_sources", std::move(vms));
}

Task<void> sr_data_source_list(Invocation& run) {
    std::vector<std::string> srs = co_await select_srs(run);
    co_await data_sources(run, "SR.get_data_sources", std::move(srs));
}

Task<void> host_apply_edition(Invocation& run) {
    std::string host;
    if (const std::string* uuid = run.params.find("host-uuid")) {
        host = co_await run.session.by_uuid("host", *uuid);
    } else {
        host = co_await the_coordinator(run);
    }
    co_await run.session.call("host.apply_edition",
                              args(std::move(host), run.params.need("edition"), false));
}

Task<void> hostdriver_select(Invocation& run) {
    const std::string uuid = run.params.need("uuid");
    const std::string wanted = run.params.need("variant-name");
    const std::string driver = co_await run.session.by_uuid("Host_driver", uuid);
    const wire::Value* row = co_await run.facts.record("Host_driver", driver);
    if (row == nullptr) throw CommandError("there is no such driver");
    for (const wire::Value& ref : list_member(*row, "variants")) {
        const wire::Value* variant = co_await run.facts.record("Driver_variant", shown(ref));
        if (variant == nullptr || text_member(*variant, "name") != wanted) continue;
        co_await run.session.call("Host_driver.select", args(driver, shown(ref)));
        co_return;
    }
    throw CommandError("the driver has no variant " + wanted);
}

}  // namespace

const CommandFunctions& host_commands() {
    static const CommandFunctions all = {
        {"host-forget", host_forget},
        {"host-declare-dead", host_declare_dead},
        {"pool-eject", pool_eject},
        {"pool-join", pool_join},
        {"host-cpu-info", host_cpu_info},
        {"host-get-cpu-features", host_get_cpu_features},
        {"pool-get-cpu-features", pool_get_cpu_features},
        {"pool-install-ca-certificate", pool_install_ca_certificate},
        {"pool-certificate-install", pool_certificate_install},
        {"pool-crl-install", pool_crl_install},
        {"host-server-certificate-install", host_server_certificate_install},
        {"host-data-source-list", host_data_source_list},
        {"vm-data-source-list", vm_data_source_list},
        {"sr-data-source-list", sr_data_source_list},
        {"host-apply-edition", host_apply_edition},
        {"hostdriver-select", hostdriver_select},
    };
    return all;
}

}  // namespace basalt::cli
