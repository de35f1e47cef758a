// hostd: the privileged half of a host. `hostd --config FILE`.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <fstream>
#include <functional>
#include <set>

#include "base/fault_points.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "host-agent/real/real_host.hpp"
#include "host-agent/real/real_services.hpp"
#include "host-agent/rpc/door.hpp"
#include "host-agent/sim/sim_host.hpp"

namespace basalt::agent {
namespace {

/// A host to serve, whatever it is made of.
struct Served {
    std::function<Task<void>()> start;
    std::function<Task<void>()> stop;
    std::function<Server&()> server;
    std::function<void(Runner::Probe)> set_probe;
};

Served real(RealLoop& loop, const Config& config) {
    const auto host = std::make_shared<RealHost>(loop, config);
    return {[host] { return host->start(); }, [host] { return host->stop(); },
            [host]() -> Server& { return host->server(); },
            [host](Runner::Probe probe) { host->set_probe(std::move(probe)); }};
}

/// Of a network interface of this machine; empty when there is none of that name.
std::string mac_of(const std::string& device) {
    std::ifstream file("/sys/class/net/" + device + "/address");
    std::string mac;
    file >> mac;
    return mac;
}

Served simulated(RealLoop& loop, const Config& config) {
    HostFacts facts = sim::facts_of(loop, 0);
    facts.uuid = config.host.uuid;
    if (!config.host.hostname.empty()) facts.hostname = config.host.hostname;
    // The boot id stays a fresh one: what is simulated lives and dies with this process.
    facts.management_device = config.host.management;
    facts.nics.front().name = config.host.management;
    if (const std::string mac = mac_of(config.host.management); !mac.empty())
        facts.nics.front().mac = mac;
    facts.memory_total_bytes = config.hostd.sim_memory_bytes;
    facts.memory_free_bytes = facts.memory_total_bytes - facts.memory_total_bytes / 16;
    facts.address = config.host.address;
    facts.gateway = config.host.gateway;
    facts.dns = config.host.dns;
    facts.local_sr = config.storage.local_sr;
    facts.iso_sr_path = config.storage.iso_sr;
    // Guests, disks and networks are simulated; who may log in and what scripts there are is not.
    auto gauges = std::make_shared<SimGauges>(loop, facts.cpu_count, facts.memory_total_bytes);
    sim::Options options{.facts = std::move(facts),
                         .services = std::make_shared<RealServices>(loop, config),
                         .gauges = std::move(gauges),
                         .metrics_folders = {.run = config.hostd.run_dir + "/metrics",
                                             .state = config.host.state + "/metrics"}};
    const auto host =
        std::make_shared<sim::SimHost>(loop, std::move(options), std::make_shared<sim::Shared>());
    return {[host] { return host->start(); }, [host] { return host->kill(); },
            [host]() -> Server& { return host->server(); },
            [host](Runner::Probe probe) { host->set_probe(std::move(probe)); }};
}

struct Daemon {
    RealLoop& loop;
    Config config;
    Served host;
    std::unique_ptr<Listener> listener;
    int status = 0;
};

Task<void> serve(Daemon& daemon) {
    try {
        co_await daemon.host.start();
        // Anybody may connect: the door asks the kernel who it is.
        daemon.listener = listen_unix(daemon.loop, daemon.config.hostd.socket, 0666);
        log::info("ready", {{"socket", daemon.config.hostd.socket},
                            {"backend", daemon.config.hostd.backend}});
        const std::set<std::int64_t> users = {0, ::geteuid(), daemon.config.hostd.xapi_uid};
        Door door(daemon.host.server(), users);
        co_await door.run(*daemon.listener);
    } catch (const std::exception& error) {
        log::error("failed", {{"error", error.what()}});
        daemon.status = 1;
        daemon.loop.stop();
    }
}

Task<void> end(Daemon& daemon) {
    if (daemon.listener) daemon.listener->close();
    try {
        co_await daemon.host.stop();
    } catch (const std::exception& error) {
        log::error("stop_failed", {{"error", error.what()}});
    }
    log::info("stopped");
    daemon.loop.stop();
}

// "vm_start/create/inside"
Runner::Probe dying_at(const std::string& folder) {
    return [points = FaultPoints(folder)](const std::string& verb, const std::string& step,
                                          Runner::Moment moment) {
        points.reach(verb + "/" + step + "/" + std::string(text(moment)));
    };
}

int run(const std::string& file, const std::string& fault_points) {
    Config config = load_config(file);
    for (const std::string& key : config.unknown)
        log::warn("unknown_setting", {{"file", file}, {"key", key}});
    RealLoop loop;
    Served host = config.hostd.backend == "sim" ? simulated(loop, config) : real(loop, config);
    if (!fault_points.empty()) host.set_probe(dying_at(fault_points));
    Daemon daemon{loop, std::move(config), std::move(host), nullptr};
    loop.on_terminate([&daemon] { spawn(daemon.loop, "end", end(daemon)); });
    spawn(loop, "serve", serve(daemon));
    loop.run();
    return daemon.status;
}

}  // namespace
}  // namespace basalt::agent

int main(int argc, char** argv) {
    CLI::App app("hostd: runs the guests, disks and networks of one host");
    std::string file = "/etc/basalt/host.toml";
    app.add_option("--config", file, "configuration (TOML)")->check(CLI::ExistingFile);
    std::string fault_points;
    app.add_option("--fault-points", fault_points,
                   "a folder: notes the steps of plans in `seen`, dies at the one that `die` names")
        ->check(CLI::ExistingDirectory);
    CLI11_PARSE(app, argc, argv);
    try {
        return basalt::agent::run(file, fault_points);
    } catch (const std::exception& error) {
        basalt::log::error("failed", {{"error", error.what()}});
        return 1;
    }
}
