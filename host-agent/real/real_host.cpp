#include "host-agent/real/real_host.hpp"

#include <filesystem>
#include <functional>
#include <stdexcept>

#include "base/confine.hpp"
#include "base/log.hpp"
#include "host-agent/core/guard.hpp"
#include "host-agent/images/nbd_images.hpp"
#include "host-agent/real/real_services.hpp"
#include "hypervisor/qemu/qemu_hypervisor.hpp"
#ifdef BASALT_HAS_XEN
#include "hypervisor/xen/xen_hypervisor.hpp"
#endif
#include "network-manager/linux/bridge_network.hpp"
#include "network-manager/ovsdb/ovs_network.hpp"
#include "storage-manager/manager/real_storage.hpp"

namespace basalt::agent {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t guests_max = 1000;

std::shared_ptr<Confinement> make_confinement(RealLoop& loop, const Config& config) {
    fs::create_directories(config.host.state);
    auto out = std::make_shared<Confinement>(
        loop, Confinement::Config{.launcher = config.hostd.launcher,
                                  .cgroup = "basalt-" + config.host.uuid,
                                  .slots = {static_cast<uid_t>(config.hostd.uid_first), guests_max,
                                            config.host.state + "/users.json"}});
    std::string controllers;
    for (const std::string& one : out->groups.controllers())
        controllers += (controllers.empty() ? "" : ",") + one;
    log::info("confinement", {{"launcher", out->launcher}, {"controllers", controllers}});
    return out;
}

std::unique_ptr<hv::Hypervisor> make_xen(RealLoop& loop, const Config& config,
                                         std::shared_ptr<Confinement> confinement) {
#ifdef BASALT_HAS_XEN
    return std::make_unique<hv::xen::XenHypervisor>(
        loop, hv::xen::Options{.run_dir = config.hostd.run_dir + "/xen",
                               .core_dir = config.host.state + "/cores",
                               .boot_dir = config.host.state + "/boot",
                               .confinement = std::move(confinement)});
#else
    (void)loop;
    (void)confinement;
    throw std::invalid_argument("backend " + config.hostd.backend +
                                ": this hostd was built where libxl was not found");
#endif
}

std::unique_ptr<hv::Hypervisor> make_hypervisor(RealLoop& loop, const Config& config,
                                                std::shared_ptr<Confinement> confinement) {
    if (config.hostd.backend == "xen") return make_xen(loop, config, std::move(confinement));
    if (config.hostd.backend != "qemu")
        throw std::invalid_argument("backend " + config.hostd.backend +
                                    ": this hostd has no such machine");
    hv::qemu::Options options;
    options.run_dir = config.hostd.run_dir + "/vm";
    options.nvram_dir = config.host.state + "/nvram";
    options.installation.program = config.hostd.qemu;
    options.confinement = std::move(confinement);
    fs::create_directories(options.run_dir);
    fs::create_directories(options.nvram_dir);
    return std::make_unique<hv::qemu::QemuHypervisor>(loop, std::move(options));
}

std::shared_ptr<sm::Storage> make_storage(RealLoop& loop, const Config& config,
                                          std::shared_ptr<Confinement> confinement) {
    sm::RealStorageConfig options;
    options.run_folder = config.hostd.run_dir + "/sd";
    options.state_file = config.host.state + "/storage.json";
    options.work_folder = config.host.state + "/work";
    options.worker_program = config.storage.worker;
    options.stream_program = fs::path(config.storage.worker).parent_path() / "sm-stream";
    options.confinement = std::move(confinement);
    fs::create_directories(options.run_folder);
    fs::create_directories(options.work_folder);
    return sm::real_storage(loop, options);
}

/// A backend, and what has to run beside it for as long as it is used.
struct RunningNetwork {
    std::unique_ptr<nm::Network> network;
    std::function<Task<void>()> run;
};

RunningNetwork make_network(RealLoop& loop, const Config& config) {
    if (network_backend(config.hostd.network_conf) == "bridge")
        return {std::make_unique<nm::BridgeNetwork>(loop, nm::BridgeConfig{}), {}};
    nm::ovsdb::OvsConfig options;
    options.database = config.hostd.ovsdb;
    options.datapath = config.hostd.ovs_datapath;
    options.manager_keys = {.certificate = config.hostd.certificate,
                            .authority = config.host.state + "/switch-managers.pem"};
    auto switched = std::make_unique<nm::ovsdb::OvsNetwork>(loop, options);
    auto run = [raw = switched.get()] { return raw->run(); };
    return {std::move(switched), std::move(run)};
}

std::string store_file(const Config& config) {
    fs::create_directories(config.host.state);
    return config.host.state + "/hostd.db";
}

}  // namespace

struct RealHost::Parts {
    Parts(RealLoop& owner, const Config& config)
        : loop(owner),
          records(owner, store_file(config)),
          confinement(make_confinement(owner, config)),
          hypervisor(make_hypervisor(owner, config, confinement)),
          storage(make_storage(owner, config, confinement)),
          network(make_network(owner, config)),
          services(owner, config),
          images(owner),
          guard(config.hostd.boot_dir),
          gauges(owner),
          agent(owner, records,
                Backends{*hypervisor, *storage, *network.network, services, images, &guard, &gauges,
                         MetricsFolders{.run = config.hostd.run_dir + "/metrics",
                                        .state = config.host.state + "/metrics"}}),
          server(owner, agent) {}

    RealLoop& loop;
    Records records;
    std::shared_ptr<Confinement> confinement;
    std::unique_ptr<hv::Hypervisor> hypervisor;
    std::shared_ptr<sm::Storage> storage;
    RunningNetwork network;
    RealServices services;
    NbdImages images;
    Guard guard;
    ProcGauges gauges;
    Agent agent;
    Server server;
    std::shared_ptr<Job> network_job;
};

RealHost::RealHost(RealLoop& loop, const Config& config)
    : parts_(std::make_unique<Parts>(loop, config)) {}

RealHost::~RealHost() = default;

Task<void> RealHost::start() {
    if (parts_->network.run)
        parts_->network_job = spawn(parts_->loop, "network", parts_->network.run());
    co_await parts_->agent.start();
}

Task<void> RealHost::stop() {
    co_await parts_->server.stop();
    if (!parts_->network_job) co_return;
    parts_->network_job->cancel();
    co_await parts_->network_job->wait();
}

void RealHost::set_probe(Runner::Probe probe) {
    parts_->agent.runner().probe = std::move(probe);
}

Server& RealHost::server() {
    return parts_->server;
}

}  // namespace basalt::agent
