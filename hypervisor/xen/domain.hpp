#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "hypervisor/qemu/console_hub.hpp"
#include "hypervisor/xen/calls.hpp"
#include "hypervisor/xen/descriptor.hpp"
#include "hypervisor/xen/watch.hpp"
#include "hypervisor/xen/xen_hypervisor.hpp"

/// What the parts of XenHypervisor share: its domains, and what becomes of them by themselves. Loop
/// only.
namespace basalt::hv::xen {

struct Domain {
    Descriptor descriptor;
    bool running = false;
    /// Somebody is ending or saving it: what the store says of it is no news.
    bool ending = false;
    /// It stands still since it was saved or sent, until it is destroyed or runs on.
    bool saved = false;
    bool preserved = false;
    /// It has crashed, and its memory is being written into a file; null: it is not. Whoever ends
    /// it cancels this.
    std::shared_ptr<Job> dumping;
    /// A reboot was asked for by the power button: off means again.
    bool restart_when_off = false;
    /// What Xen gives it now, as last seen; 0: not seen yet.
    std::int64_t memory_bytes = 0;
    agent::GuestFacts facts;
    std::unique_ptr<qemu::ConsoleHub> console;

    [[nodiscard]] const std::string& uuid() const { return descriptor.config.spec.uuid; }

    [[nodiscard]] const agent::BootSpec& boot() const { return descriptor.config.spec.boot; }
};

using DomainPtr = std::shared_ptr<Domain>;

struct XenHypervisor::State {
    State(RealLoop& owner, Options given)
        : loop(owner), options(std::move(given)), descriptors(options.run_dir), stirred(owner) {}

    RealLoop& loop;
    Options options;
    Descriptors descriptors;
    hv::Events* events = nullptr;  // null before `adopt` and after the hypervisor is gone
    std::map<DomId, DomainPtr> domains;
    std::set<std::string> building;  // VM uuids
    std::set<std::shared_ptr<Job>> jobs;
    /// Of what agents in guests write.
    std::shared_ptr<StoreWatch> guests;
    /// Domains whose agents have written since they were looked at.
    std::set<DomId> written;
    /// Until then memory may move at any moment: somebody has been told to.
    Time restless_until{};
    Signal stirred;
};

using StatePtr = std::shared_ptr<XenHypervisor::State>;

agent::DomainInfo info(const Domain& domain);
/// Keeps the descriptor, as it is now, beside the domain.
Task<void> write(StatePtr state, Descriptor descriptor);

// making.cpp

struct Making {
    /// Off the loop.
    std::function<DomId(const Sources&)> make;
    /// Its guest begins with a kernel, and does not go on where it was.
    bool boots = true;
};

/// Makes the domain, paused. `from` has the disks.
Task<DomId> make_domain(StatePtr state, DomainConfig config, Sources from, Making making);
/// What an earlier hostd found and had no time to remove.
Task<void> drop_found_kernels(StatePtr state);

// ends.cpp

/// Whether what becomes of it is news.
bool is_watched(const Domain& domain);
/// Settles one that has stopped while nobody was to look. Throws nothing.
Task<void> look_after(StatePtr state, DomainPtr domain);
/// Destroys the domain and forgets it. Tells nobody: that is for who knows why.
Task<void> take_away(StatePtr state, DomainPtr domain);
/// Does what its spec says with a guest that has stopped and whose domain is still there. One whose
/// memory is kept is settled some time later.
Task<void> settle_halted(StatePtr state, DomainPtr domain, agent::HaltReason reason);
/// Settles whatever has stopped, as often as `ends` says so.
Task<void> watch_ends(StatePtr state, std::shared_ptr<StoreWatch> ends);
/// What is kept of the VM's last crash goes. Idempotent.
Task<void> drop_core(StatePtr state, std::string vm);

// saving.cpp

/// When it returns the domain stands saved; on failure it is as before.
Task<void> save_to(StatePtr state, DomainPtr domain, UniqueFd sink, Progress progress, Saving how);
/// The opposite: one that stands saved runs on.
Task<void> run_on(StatePtr state, DomainPtr domain);

// figures.cpp

Task<std::vector<DomainReading>> measure_domains(StatePtr state);

// guests.cpp

/// From now on what its agent writes is told.
Task<void> follow_guest(StatePtr state, DomId dom);
/// Idempotent.
Task<void> unfollow_guest(StatePtr state, DomId dom);
/// Its memory is about to move.
void expect_motion(XenHypervisor::State& state);
/// Notes whose agents write.
Task<void> watch_writes(StatePtr state, std::shared_ptr<StoreWatch> guests);
/// Tells what they have written and how their memory moves.
Task<void> watch_guests(StatePtr state);

}  // namespace basalt::hv::xen
