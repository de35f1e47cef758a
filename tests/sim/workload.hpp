#pragma once
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "idl/enums.hpp"
#include "tests/sim/sim_pool.hpp"

namespace basalt::testing {

/// Random calls and random faults on a pool, from a seed, and a ledger of what was acknowledged.
class Workload {
  public:
    struct Size {
        int hosts = 64;
        int steps = 300;  // calls and faults
    };

    Workload(std::uint64_t seed, Size size);

    /// Runs to the end; answers what was wrong when all had come to rest, with a line a finding.
    std::string run();

    /// Over every step that was taken: equal for equal seeds.
    [[nodiscard]] std::uint64_t history() const { return pool_.loop.history(); }

    /// How often a call ended how: "success" or its error code.
    [[nodiscard]] const std::map<std::string, int>& outcomes() const { return outcomes_; }

  private:
    struct Asked {
        std::string method;
        std::shared_ptr<SimPool::Pending> pending;
        std::string makes;    // name_label of what it makes, or empty
        std::string unmakes;  // of what it destroys
    };

    using Act = void (Workload::*)();

    struct Choice {
        int weight;
        Act act;
    };

    static const std::vector<Choice>& choices();

    void step();
    void rest();
    void note_ends();
    std::string check();

    void expect_no_more(const std::string& name);
    void ask(const std::string& method, std::vector<wire::Value> params, std::string makes = {},
             std::string unmakes = {});

    std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    template <class R>
    xenapi::Ref<R> any(const std::function<bool(const R&)>& fits);
    xenapi::Ref<xenapi::Vm> any_vm(xenapi::VmPowerState state);
    std::string fresh_name(const char* kind);

    // Calls.
    void make_vm();
    void start_vm();
    void shut_down_vm();
    void hard_shut_down_vm();
    void reboot_vm();
    void pause_vm();
    void unpause_vm();
    void suspend_vm();
    void resume_vm();
    void snapshot_vm();
    void clone_vm();
    void destroy_vm();
    void create_disk();
    void destroy_disk();
    void snapshot_disk();
    void clone_disk();
    void resize_disk();
    void scan();
    void create_network();
    void create_vlan();
    void destroy_vlan();
    void cancel_call();

    // Faults.
    void kill_hostd();
    void kill_xapi();
    void lose_power();
    void break_wire();
    void crash_guest();
    void fail_backend();
    void fill_disk();

    SimPool pool_;
    int steps_;
    std::mt19937_64 random_;
    int names_ = 0;
    std::vector<Asked> asked_;
    std::map<std::string, int> outcomes_;
    std::set<std::string> there_;  // by name_label: acknowledged, and nobody asked to destroy it
    std::set<std::string> gone_;   // acknowledged as destroyed
};

}  // namespace basalt::testing
