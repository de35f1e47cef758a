#pragma once
#include <vector>

#include "hypervisor/sim/sim_hypervisor.hpp"

namespace basalt::hv {

struct SimDomain {
    DomId dom = 0;
    DomainConfig config;
    bool running = false;
    bool up = false;
    std::int64_t started_at = 0;
    Duration ran_before{};  // since boot, up to `resumed_at`
    Time resumed_at{};
    Loop::TimerId timer = 0;  // the next thing the guest does by itself
    Loop::TimerId request_timer = 0;
    Loop::TimerId balloon_timer = 0;
    std::int64_t memory_bytes = 0;  // what its balloon leaves it
    std::vector<std::string> signals;
    std::map<std::string, std::int64_t> disk_bytes;
    std::string console;
    std::vector<UniqueFd> clients;
};

/// The inside of a SimHost: guests advance by timers, all on the loop.
struct SimHost::State : std::enable_shared_from_this<State> {
    State(Loop& owner, SimHost& facade) : loop(owner), host(&facade) {}

    Loop& loop;
    SimHost* host;  // null once it is gone
    std::map<DomId, SimDomain> domains;
    DomId last_dom = 0;
    Events* events = nullptr;
    std::uint64_t generation = 0;  // which SimHypervisor is in charge
    /// Ended while no hypervisor listened.
    std::vector<std::pair<DomId, std::string>> unheard;

    struct Fault {
        ApiError error;
        int times;
    };

    std::map<std::string, Fault> faults;
    std::vector<std::string> purged;

    struct Kept {
        std::string bytes;
        std::string told;  // bytes, as the records have them
        std::string tag;
    };

    std::map<std::pair<std::string, agent::StateKind>, Kept> kept;  // by VM

    SimDomain* find(const std::string& uuid);
    SimDomain& at(DomId dom);
    [[nodiscard]] const SimScript& script(const SimDomain& domain) const;
    /// Takes the verb's time, then fails if a fault is set.
    Task<void> verb(std::string name);
    /// Throws the fault set for a verb, once less.
    void trip(const std::string& name);

    DomId add(DomainConfig config, bool up, Duration uptime);
    void set_running(SimDomain& domain, bool running);
    void boot(SimDomain& domain);
    void say(SimDomain& domain, const std::string& text);
    void write_state(const std::string& uuid, agent::StateKind kind, std::string bytes);
    void request(SimDomain& domain, GuestRequest what);
    void halted(DomId dom, agent::HaltReason reason);
    void remove(DomId dom);
    void tell_ended(DomId dom, const std::string& uuid, agent::HaltReason reason);
    void tell_facts(const SimDomain& domain);
    /// The balloon moves to its target, some time from now, if the guest has one and is up.
    void balloon(SimDomain& domain);
    [[nodiscard]] Duration uptime(const SimDomain& domain) const;

  private:
    void schedule(SimDomain& domain);
    void came_up(DomId dom);
};

agent::DomainInfo info(const SimDomain& domain);

}  // namespace basalt::hv
