#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/sim_loop.hpp"
#include "host-agent/sim/sim_host.hpp"
#include "tests/sim/wire.hpp"
#include "xapi/coordinator.hpp"
#include "xapi/db/store/store_sim.hpp"

namespace basalt::testing {

/// A coordinator and any number of simulated hosts in one process, from one seed. While it steps,
/// it watches that no VM ever has two domains.
class SimPool {
  public:
    /// `change`: what else the hosts are than sim::facts_of says.
    explicit SimPool(std::uint64_t seed, int hosts = 1,
                     const std::function<void(agent::HostFacts&)>& change = {});
    ~SimPool();

    /// A call as root, in process, to its end. Throws what it throws.
    xenapi::Reply call(const std::string& method, std::vector<wire::Value> args = {});

    /// As `call`, started and not waited for.
    struct Pending {
        bool done = false;
        bool acknowledged = false;  // the answer left, and it was success
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
    /// Steps until virtual `time` has passed.
    void pass(Duration time);

    /// Whether the host's start of day is over.
    [[nodiscard]] bool is_ready(std::size_t host);

    /// xapi is killed with power and started again from what was durable; the hosts live on.
    void crash_xapi();

    static constexpr int xapi_itself = -1;

    /// A named moment of a call, of a verb on its way (`xapi_itself`), or of a step of a plan (the
    /// host's number): "VM.start/intent", "vm_start/sent", "vm_start/create/inside".
    std::function<void(int who, const std::string& moment)> on_moment;

    /// Kill xapi or a host's hostd, also from within `on_moment`: nothing more is written, sent or
    /// begun. `mend` must follow.
    void cut(int who);
    /// Ends what was cut and starts it again, each as soon as `pauses` says, then waits until every
    /// host is ready.
    void mend(Duration xapi_pause = {}, Duration host_pause = {});

    [[nodiscard]] bool is_cut() const { return xapi_cut_ || !hosts_cut_.empty(); }

    /// The coordinator stops for a while and another takes over from a copy of its store. The old
    /// one is frozen, not dead: `thaw_old` lets it go on.
    void take_over();
    void thaw_old();

    /// Whether the old coordinator was told by a host that its time is over.
    [[nodiscard]] bool old_superseded() const { return old_ && old_->superseded; }

    /// The host's power goes and comes back.
    void lose_power(std::size_t host);

    /// A VM of 64 MiB with one disk and one NIC on the first host's storage.
    xenapi::Ref<xenapi::Vm> make_vm(const std::string& name);
    /// The same without disk and NIC; null when the store is full.
    xenapi::Ref<xenapi::Vm> insert_vm(const std::string& name);

    // Arguments of constructors.
    static wire::Value vdi_record(xenapi::Ref<xenapi::Sr> sr, const std::string& name);
    static wire::Value vbd_record(xenapi::Ref<xenapi::Vm> vm, xenapi::Ref<xenapi::Vdi> disk);
    static wire::Value vif_record(xenapi::Ref<xenapi::Vm> vm, xenapi::Ref<xenapi::Network> network);
    static wire::Value network_record(const std::string& name);

    [[nodiscard]] db::Database& db() { return xapi->db(); }

    /// What did not hold while time passed.
    [[nodiscard]] const std::set<std::string>& seen_broken() const { return seen_broken_; }

    /// Whether a call that answers an error which its message does not declare fails the test.
    bool errors_must_be_declared = true;

    SimLoop loop;
    std::unique_ptr<db::SimDisk> disk = std::make_unique<db::SimDisk>();
    std::shared_ptr<agent::sim::Shared> shared = std::make_shared<agent::sim::Shared>();
    std::vector<std::unique_ptr<agent::sim::SimHost>> hosts;
    std::vector<std::unique_ptr<Wire>> wires;  // by host
    std::unique_ptr<db::SimStore> store;
    std::unique_ptr<Coordinator> xapi;

  private:
    struct Incarnation {
        std::unique_ptr<db::SimDisk> disk;
        std::unique_ptr<db::SimStore> store;
        std::unique_ptr<Coordinator> xapi;
        std::vector<std::unique_ptr<Wire>> wires;
        std::vector<std::shared_ptr<Pending>> pending;
        bool superseded = false;
    };

    void boot_xapi();
    void stop_xapi();
    void stop_old();
    void end(Coordinator& coordinator, std::vector<std::shared_ptr<Pending>>& pending);
    void run(const std::string& name, Task<void> body);
    void watch();

    std::vector<std::shared_ptr<Pending>> pending_;
    std::unique_ptr<Incarnation> old_;
    bool xapi_cut_ = false;
    std::set<std::size_t> hosts_cut_;
    std::set<std::string> seen_broken_;
    std::size_t domains_seen_ = 0;
};

}  // namespace basalt::testing
