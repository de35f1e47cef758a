#pragma once
#include <map>
#include <memory>
#include <string>

#include "host-agent/rpc/server.hpp"
#include "hypervisor/sim/sim_hypervisor.hpp"
#include "network-manager/sim/sim_network.hpp"
#include "storage-manager/sim/sim_storage.hpp"

/// Hosts in memory: the real agent over simulated backends, many in one process from one seed.
namespace basalt::agent::sim {

/// What the hosts of a pool share: disks, and the suspend images in them.
struct Shared {
    sm::sim::SharedWorld disks = std::make_shared<sm::sim::World>();
    std::map<std::string, std::string> images;  // by path of the disk's image that it was saved in

    /// The path of a VDI's own image; empty when there is none.
    [[nodiscard]] std::string leaf_of(const std::string& vdi) const;
    /// The suspend image in a VDI, or in what it was cloned from; null for none.
    [[nodiscard]] const std::string* suspended_in(const std::string& vdi) const;
};

class SimMachine;

struct Options {
    HostFacts facts;  // uuid, hostname, nics ...; what is left empty gets a plausible value
    std::string password = "password";    // of root
    std::int64_t utc_offset_seconds = 0;  // of the time zone
    /// Logins, plug-ins and the machine's settings, instead of simulated ones. `facts` stay those
    /// above, but for the names that can be set.
    std::shared_ptr<Services> services{};
    /// Null: nothing is measured.
    std::shared_ptr<Gauges> gauges{};
    MetricsFolders metrics_folders{};
};

/// One host. `stop` it before it goes.
class SimHost {
  public:
    SimHost(Loop& loop, Options options, std::shared_ptr<Shared> shared);
    ~SimHost();
    SimHost(const SimHost&) = delete;
    SimHost& operator=(const SimHost&) = delete;

    /// Starts hostd on the machine as it is; returns when it takes requests.
    Task<void> start();
    /// For tests: called around each step of each plan, of this hostd and of those that follow.
    void set_probe(Runner::Probe probe);
    /// The part of `kill` that is instant, for a probe inside a plan: nothing more is begun, and no
    /// answer leaves. `kill` must follow.
    void cut();
    /// As SIGKILL of hostd: guests run on, connections are lost.
    Task<void> kill();
    /// The power goes: no guest, no port, no open disk is left, hostd neither. What was durable
    /// stays. A new boot id.
    Task<void> lose_power();

    /// What it keeps of operations, whether hostd runs or not.
    [[nodiscard]] Journal journal() { return Journal(records_); }

    /// The far end of a new connection to hostd, for an rpc::Peer. Closed when hostd does not run.
    std::unique_ptr<rpc::Channel> connect();

    /// Whether hostd takes requests.
    [[nodiscard]] bool up() const;

    [[nodiscard]] const HostFacts& facts() const { return options_.facts; }

    // The machine under hostd, for tests: guests, bridges, faults.
    [[nodiscard]] hv::SimHost& machine() { return machine_; }

    [[nodiscard]] nm::sim::SimNetwork& network() { return network_; }

    [[nodiscard]] sm::sim::SimDisks& disks() { return *disks_; }

    /// Its settings and its power (sim_services.hpp).
    [[nodiscard]] SimMachine& settings() { return *settings_; }

    /// From `start` on, until `kill`.
    [[nodiscard]] Agent& agent();
    [[nodiscard]] Server& server();

  private:
    struct Running;

    Loop& loop_;
    Options options_;
    std::shared_ptr<Shared> shared_;
    hv::SimHost machine_;
    nm::sim::SimNetwork network_;
    std::unique_ptr<SimMachine> settings_;
    std::shared_ptr<sm::sim::SimDisks> disks_;
    std::shared_ptr<sm::sim::SimState> storage_state_;
    Records records_;
    Runner::Probe probe_;
    std::unique_ptr<Running> running_;
};

/// A host's facts from its number: uuid, hostname host0, one NIC eth0, 16 GiB, 8 CPUs.
HostFacts facts_of(Loop& loop, int number);

}  // namespace basalt::agent::sim
