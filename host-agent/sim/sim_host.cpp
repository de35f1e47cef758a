#include "host-agent/sim/sim_host.hpp"

#include <format>

#include "host-agent/sim/sim_services.hpp"

namespace basalt::agent::sim {

// What dies with hostd.
struct SimHost::Running {
    Running(SimHost& host)
        : hypervisor(host.machine_),
          storage(sm::sim::sim_storage(host.loop_, host.shared_->disks, host.disks_,
                                       host.storage_state_)),
          services(host.loop_, host.options_, *host.settings_),
          images(*host.shared_),
          agent(host.loop_, host.records_,
                Backends{hypervisor, *storage, host.network_, services, images, nullptr,
                         host.options_.gauges.get(), host.options_.metrics_folders}),
          server(host.loop_, agent) {
        agent.runner().probe = host.probe_;
    }

    hv::SimHypervisor hypervisor;
    std::shared_ptr<sm::Storage> storage;
    SimServices services;
    SimImages images;
    Agent agent;
    Server server;
    std::shared_ptr<Job> starting;
    bool ready = false;
    bool cut = false;

    Task<void> begin() {
        co_await agent.start();
        ready = !cut;
    }
};

SimHost::SimHost(Loop& loop, Options options, std::shared_ptr<Shared> shared)
    : loop_(loop),
      options_(std::move(options)),
      shared_(std::move(shared)),
      machine_(loop),
      network_(loop, options_.facts.nics),
      settings_(std::make_unique<SimMachine>()),
      disks_(std::make_shared<sm::sim::SimDisks>(shared_->disks)),
      storage_state_(std::make_shared<sm::sim::SimState>()),
      records_(loop, ":memory:") {}

SimHost::~SimHost() = default;

Task<void> SimHost::start() {
    running_ = std::make_unique<Running>(*this);
    running_->starting = spawn(loop_, "hostd", running_->begin());
    // Not the job's own reference: a kill meanwhile drops it.
    const auto starting = running_->starting;
    co_await starting->join();
}

void SimHost::set_probe(Runner::Probe probe) {
    probe_ = std::move(probe);
    if (running_) running_->agent.runner().probe = probe_;
}

void SimHost::cut() {
    if (!running_) return;
    running_->ready = false;
    running_->cut = true;
    running_->agent.runner().stop_now();
    running_->server.cut();
}

bool SimHost::up() const {
    return running_ && running_->ready;
}

Task<void> SimHost::kill() {
    if (!running_) co_return;
    cut();
    const std::unique_ptr<Running> dying = std::move(running_);
    dying->starting->cancel();
    co_await dying->starting->wait();
    co_await dying->server.stop();
}

Task<void> SimHost::lose_power() {
    co_await kill();
    machine_.lose_power();
    network_.reboot();
    settings_->reboot();
    disks_ = std::make_shared<sm::sim::SimDisks>(shared_->disks);
    options_.facts.boot_id = loop_.new_uuid().text();
    options_.facts.boot_time = loop_.wall_ns() / 1'000'000'000;
}

std::unique_ptr<rpc::Channel> SimHost::connect() {
    auto [near, far] = rpc::memory_channels(loop_);
    if (up()) {
        running_->server.serve(std::move(far));
    } else {
        near->close();
    }
    return std::move(near);
}

Agent& SimHost::agent() {
    return running_->agent;
}

Server& SimHost::server() {
    return running_->server;
}

HostFacts facts_of(Loop& loop, int number) {
    HostFacts facts;
    facts.uuid = loop.new_uuid().text();
    facts.hostname = "host" + std::to_string(number);
    facts.boot_id = loop.new_uuid().text();
    facts.boot_time = loop.wall_ns() / 1'000'000'000;
    facts.agent_version = "sim";
    facts.kernel_version = "6.12.0-sim";
    facts.cpu_model = "Simulated CPU";
    facts.cpu_vendor = "GenuineIntel";
    facts.cpu_mhz = 2400;
    facts.cpu_family = 6;
    facts.cpu_model_number = 85;
    facts.cpu_stepping = 4;
    facts.cpu_count = 8;
    facts.cpu_sockets = 1;
    facts.cpu_threads_per_core = 2;
    facts.numa_nodes = 1;
    facts.cpu_features = "178bfbff-f6fa3203-2c100800-00000121";
    facts.memory_total_bytes = std::int64_t{16} << 30;
    facts.memory_free_bytes = std::int64_t{15} << 30;
    facts.iscsi_iqn = "iqn.2026-01.local.basalt:" + facts.hostname;
    facts.address = "10.0." + std::to_string(number / 250) + "." + std::to_string(number % 250 + 1);
    facts.management_device = "eth0";
    NicFacts nic;
    nic.name = "eth0";
    nic.mac = std::format("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256);
    nic.mtu = 1500;
    nic.carrier = true;
    nic.speed_mbps = 10000;
    nic.duplex_full = true;
    nic.driver = "sim";
    nic.pci = "0000:00:03.0";
    facts.nics = {nic};
    return facts;
}

}  // namespace basalt::agent::sim
