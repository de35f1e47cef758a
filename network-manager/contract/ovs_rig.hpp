#pragma once
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/real_loop.hpp"
#include "base/subprocess.hpp"
#include "network-manager/contract/rig.hpp"
#include "network-manager/ovsdb/ovs_network.hpp"

namespace basalt::nm {

/// Turns the loop until `body` has ended; throws what it threw.
void turn(RealLoop& loop, Task<void> body);

/// A fresh network namespace for this process; the one before goes with its last process. Why that
/// cannot be, or nothing.
std::string enter_namespace();
/// eth0 and eth1 in it, veths whose other ends are wire0 and wire1.
void make_interfaces();

/// Another machine on the wire: a namespace with one interface, eth0.
class Neighbour {
  public:
    /// `link` of this namespace becomes its eth0.
    Neighbour(RealLoop& loop, const std::string& link, const std::string& cidr);
    ~Neighbour();
    Neighbour(const Neighbour&) = delete;
    Neighbour& operator=(const Neighbour&) = delete;

    /// `ip`, `ping` and the like inside it; the exit status.
    int run(const std::string& shell) const;
    /// Sends that many bytes by TCP to `address` in our namespace; how many arrived within 5 s.
    std::size_t send(const std::string& address, std::size_t bytes) const;

  private:
    std::unique_ptr<Process> holder_;
};

/// A host: a fresh network namespace for this process with eth0 and eth1 (veths whose other ends
/// are wire0 and wire1), and an Open vSwitch of its own with the user-space datapath.
class OvsRig final : public Rig {
  public:
    static std::string why_not();

    OvsRig();
    ~OvsRig() override;

    void run(Body body) override;

    void start_database();
    void start_switch();
    void stop_database(int signal);
    void stop_switch(int signal);
    /// A new OvsNetwork, as after a restart of hostd.
    void restart_agent();

    [[nodiscard]] RealLoop& loop() { return loop_; }

    [[nodiscard]] ovsdb::OvsNetwork& network() { return *network_; }

    /// Output of a shell command in this namespace, both streams; OVS tools find this switch.
    std::string shell(const std::string& command) const;

  private:
    void start_agent();
    void stop_agent();
    std::unique_ptr<Process> start(std::vector<std::string> argv);

    std::filesystem::path directory_;
    RealLoop loop_{2};
    std::unique_ptr<Process> database_;
    std::unique_ptr<Process> switch_;
    std::unique_ptr<ovsdb::OvsNetwork> network_;
    std::shared_ptr<Job> running_;
};

/// Runs a shell command; output and exit status.
std::pair<std::string, int> run_shell(const std::string& command);

}  // namespace basalt::nm
