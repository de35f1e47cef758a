#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>

#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/probe.hpp"
#include "hypervisor/qemu/qemu_hypervisor.hpp"

namespace basalt::hv::qemu {

/// Behind QemuHypervisor: shared with the coroutines that watch the domains, so that these never
/// outlive what they use.
struct QemuHypervisor::State {
    State(RealLoop& owner, Options given)
        : loop(owner),
          options(std::move(given)),
          states(options.nvram_dir, options.installation.firmware_vars),
          turns(owner) {}

    RealLoop& loop;
    Options options;
    StateFiles states;
    Events* events = nullptr;  // null before `adopt` and after the hypervisor is gone
    std::map<DomId, DomainPtr> domains;
    std::set<std::string> building;  // VM uuids
    std::map<std::uint64_t, std::shared_ptr<Job>> jobs;
    std::uint64_t last_job = 0;
    std::optional<Abilities> abilities;
    ObjectQueue turns;  // "probe" and "domid"
    bool closed = false;

    [[nodiscard]] DomainPaths paths_of(const std::string& uuid) const {
        return {.dir = options.run_dir + "/vm/" + uuid,
                .nvram = states.path(uuid, agent::StateKind::nvram)};
    }
};

using StatePtr = std::shared_ptr<QemuHypervisor::State>;

// watch.cpp: what happens by itself

/// Follows the process and the events of a domain, from now until it has ended.
void watch_process(StatePtr state, DomainPtr domain);
void watch_events(StatePtr state, DomainPtr domain);
/// Asks agent and balloon now and then, and whether the kept states have moved.
void watch_guest(StatePtr state, DomainPtr domain);
/// The guest has halted and its process waits: does what the spec says.
void guest_halted(StatePtr state, DomainPtr domain, agent::HaltReason reason);
/// Asks the guest to shut down or reboot, in the background.
void ask_to_halt(StatePtr state, DomainPtr domain, GuestRequest what);
/// Starts a coroutine that ends with the hypervisor.
void start_job(StatePtr state, std::string name, Task<void> body);

}  // namespace basalt::hv::qemu
