#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/sim_loop.hpp"
#include "host-agent/sim/sim_host.hpp"
#include "xapi/coordinator.hpp"
#include "xapi/db/store/store_sim.hpp"

namespace basalt::testing {

/// A coordinator and any number of simulated hosts in one process, from one seed.
class SimPool {
  public:
    explicit SimPool(std::uint64_t seed, int hosts = 1);
    ~SimPool();

    /// A call as root, in process, to its end. Throws what it throws.
    xenapi::Reply call(const std::string& method, std::vector<wire::Value> args = {});

    /// As `call`, started and not waited for.
    struct Pending {
        bool done = false;
        std::exception_ptr failure;
        xenapi::Reply reply;
        std::shared_ptr<Job> job;
    };

    std::shared_ptr<Pending> start(const std::string& method, std::vector<wire::Value> args = {});
    void wait(const std::shared_ptr<Pending>& pending);

    template <class T>
    T get(const std::string& method, std::vector<wire::Value> args = {}) {
        return *static_cast<const T*>(call(method, std::move(args)).value());
    }

    /// Steps virtual time until `done` holds; fails the test when it never does.
    void until(const std::function<bool()>& done);

    /// Whether the host's start of day is over.
    [[nodiscard]] bool is_ready(std::size_t host);

    /// xapi is killed with power and started again from what was durable; the hosts live on.
    void crash_xapi();

    /// A VM of 64 MiB with one disk and one NIC on the first host's storage.
    xenapi::Ref<xenapi::Vm> make_vm(const std::string& name);

    SimLoop loop;
    db::SimDisk disk;
    std::shared_ptr<agent::sim::Shared> shared = std::make_shared<agent::sim::Shared>();
    std::vector<std::unique_ptr<agent::sim::SimHost>> hosts;
    std::unique_ptr<db::SimStore> store;
    std::unique_ptr<Coordinator> xapi;

    [[nodiscard]] db::Database& db() { return xapi->db(); }

  private:
    void boot_xapi();
    void stop_xapi();
};

}  // namespace basalt::testing
