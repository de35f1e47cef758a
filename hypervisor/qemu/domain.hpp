#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/confine.hpp"
#include "base/subprocess.hpp"
#include "base/undo.hpp"
#include "hypervisor/qemu/console_hub.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "hypervisor/qemu/monitor.hpp"
#include "hypervisor/qemu/state_files.hpp"

namespace basalt::hv::qemu {

/// One QEMU process and what we know of it. Its free functions live in launch, devices and saving;
/// QemuHypervisor owns it and decides what its events mean.
struct Domain {
    enum class Phase : std::uint8_t { building, live, ending };

    Domain(RealLoop& owner, DomainPaths files)
        : loop(owner), paths(std::move(files)), changed(owner), agent_moved(owner) {}

    RealLoop& loop;
    DomainPaths paths;
    Descriptor descriptor;
    std::unique_ptr<Process> process;
    std::unique_ptr<Process> tpm;  // its TPM's, which ends by itself after `process`
    std::unique_ptr<Monitor> monitor;
    std::unique_ptr<ConsoleHub> console;
    std::optional<Slots::Held> slot;  // whose users it runs as

    Phase phase = Phase::building;
    bool running = false;
    /// The process has ended and been reaped.
    bool gone = false;
    /// Why it is about to end, when the guest said so.
    std::optional<agent::HaltReason> end_reason;
    /// A reboot was asked for by power button: off means again.
    bool restart_when_off = false;
    /// Ids of devices that QEMU reported as removed, or as kept by the guest, since they were asked
    /// about.
    std::set<std::string> removed;
    std::set<std::string> refused;
    bool agent_open = false;
    agent::GuestFacts facts;
    /// Of its kept states, as last told.
    std::map<agent::StateKind, std::int64_t> state_versions;
    /// What the balloon leaves the guest; 0: it has never moved.
    std::int64_t balloon_bytes = 0;
    /// Any of the above moved.
    Signal changed;
    Signal agent_moved;

    [[nodiscard]] const std::string& uuid() const { return descriptor.config.spec.uuid; }
};

using DomainPtr = std::shared_ptr<Domain>;

agent::DomainInfo info(const Domain& domain);
Task<void> save_descriptor(const Domain& domain);

// launch.cpp

struct LaunchWith {
    Installation installation;
    StateFiles states;
    std::shared_ptr<Confinement> confinement;
    bool incoming = false;
};

/// Starts the process of a domain whose descriptor is filled in but for the process, and connects.
/// `started` is called once there is a process to watch. Every step leaves its undo.
Task<void> launch(DomainPtr domain, LaunchWith with, std::function<void()> started, Undo& undo);
/// Of root's, and to be passed through by guests' users.
void make_folder(const std::string& path);
/// The name of a domain's control group, from its folder.
std::string group_of(const std::string& dir);
/// Takes a domain's folder and group away; its process is gone. Blocks.
void remove_domain(const std::string& dir, Confinement& confinement);
/// Connects to what runs already.
Task<void> reconnect(DomainPtr domain);
/// Asks the process to end, then kills it; returns when it is gone.
Task<void> end_process(DomainPtr domain);

/// Kinds of state that its machine writes.
std::vector<agent::StateKind> states_of(const Domain& domain);

// tpm.cpp

/// What a domain's TPM emulator is given.
struct TpmReady {
    Command command;
    UniqueFd control;   // its end of the connection
    UniqueFd qemu_end;  // the emulator ends when nobody has this any more
};

/// In a cell beside `guest`, QEMU's own; what it says goes to `words`. Blocks.
TpmReady make_tpm_ready(const Domain& domain, const LaunchWith& with, const Cell& guest, int words);
void start_tpm(Domain& domain, TpmReady& ready);
/// After its QEMU ended. When this returns it has written all it had to, and is gone.
Task<void> await_tpm(DomainPtr domain);

// devices.cpp: the verbs of the same names

Task<void> plug_disk(DomainPtr domain, DiskAttachment disk);
Task<void> unplug_disk(DomainPtr domain, std::string device, bool force);
Task<void> change_medium(DomainPtr domain, DiskAttachment disk);
Task<void> plug_nic(DomainPtr domain, NicAttachment nic);
Task<void> unplug_nic(DomainPtr domain, std::int64_t device, bool force);
Task<void> disk_resized(DomainPtr domain, std::string device, std::int64_t size_bytes);
Task<void> plug_usb(DomainPtr domain, UsbAttachment device);
Task<void> unplug_usb(DomainPtr domain, std::string vusb);
/// Plugs those that its descriptor names. Of a domain that was just made and has not run.
Task<void> plug_usbs(DomainPtr domain);

// live.cpp: the verbs of the same names

Task<void> set_memory_target(DomainPtr domain, std::int64_t bytes);
/// Adds virtual CPUs until there are `count`: each time in the same places, in the same order.
Task<void> plug_cpus(DomainPtr domain, std::int64_t count);
Task<void> set_vcpus(DomainPtr domain, std::int64_t count);
Task<void> set_cpu_shares(DomainPtr domain, std::shared_ptr<Confinement> confinement,
                          agent::CpuShares shares);
Task<void> send(DomainPtr domain, agent::GuestSignal signal, std::string key);
/// Of a domain that was just made and has not run.
Task<void> apply_cpu_mask(DomainPtr domain);
/// What a domain may use beside the guest's own memory is in it.
CgroupLimits limits_of(const agent::VmSpec& spec);

// saving.cpp

Task<void> save(DomainPtr domain, UniqueFd sink, Progress progress);
/// The same of a guest that runs, until nearly all is written.
Task<void> send(DomainPtr domain, UniqueFd sink, Progress progress);
/// Reads the head of a saved guest: the machine it must come back to.
Task<Machine> read_saved_machine(Loop& loop, int source);
/// Feeds the rest to a domain launched as incoming.
Task<void> load(DomainPtr domain, UniqueFd source, Progress progress);

}  // namespace basalt::hv::qemu
