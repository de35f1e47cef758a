#pragma once
#include <memory>
#include <string>

#include "base/wait.hpp"
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/api/live_changes.hpp"
#include "hypervisor/api/state_keeper.hpp"

namespace basalt::hv::contract {

/// What came over Events, in order.
struct Recorder final : Events {
    explicit Recorder(Loop& loop) : moved(loop) {}

    void ended(DomId dom, std::string uuid, agent::HaltReason reason) override;
    void rebooted(DomId dom, std::string uuid) override;
    void preserved(DomId dom, std::string uuid, agent::HaltReason reason) override;
    void guest_changed(agent::GuestFacts facts) override;
    void memory_moved(std::string uuid, std::int64_t actual_bytes) override;
    void state_changed(agent::StateRef state) override;

    std::vector<std::string> told;  // "ended shutdown", "rebooted", "preserved crashed"
    std::map<std::string, agent::GuestFacts> facts;
    std::map<std::string, std::int64_t> memory_bytes;  // as the balloon moved last
    std::vector<agent::StateRef> states;
    Signal moved;
};

/// In what hypervisors differ by their nature.
struct Ways {
    bool restarts_in_place = true;  ///< a guest that restarts itself keeps its domain
    /// A guest that boots a kernel has drives for discs, and a screen.
    bool emulates_for_kernels = true;
    bool makes_seed_drives = true;
    bool has_uefi = true;
    bool keeps_states = true;  ///< it is a StateKeeper, and guests have TPMs
    /// Its guest's kernel starts processors that are added.
    bool starts_added_cpus = true;
};

/// A host with one hypervisor, and the means to look into its guests: what the suite runs on.
class Bench {
  public:
    virtual ~Bench() = default;
    virtual Loop& loop() = 0;
    /// Runs to the end and throws what the body threw.
    virtual void run(std::function<Task<void>()> body) = 0;
    virtual Hypervisor& hv() = 0;

    [[nodiscard]] virtual Ways ways() const { return {}; }

    virtual LiveChanges& live() = 0;
    /// Only where it keeps states.
    virtual StateKeeper& keeper() = 0;
    /// Lets go of the hypervisor and makes a new one over the same host, not yet adopted.
    virtual void restart() = 0;

    /// A guest that says `guest ready` on its serial console, without disks.
    virtual DomainConfig config() = 0;
    virtual Task<DiskAttachment> disk(std::string device, std::int64_t position,
                                      agent::DiskKind kind, std::string text) = 0;
    /// Makes the disk bigger where it is served.
    virtual Task<void> grow(DiskAttachment disk, std::int64_t bytes) = 0;
    /// Empty when this machine cannot make one.
    virtual std::optional<NicAttachment> nic(std::int64_t device) = 0;
    /// A disk with one unsigned program where UEFI looks for it; empty when this hypervisor's
    /// guests have no firmware.
    virtual Task<std::optional<DiskAttachment>> unsigned_disk() = 0;
    /// A boot that fails once the hypervisor has begun.
    virtual DomainConfig failing_config() = 0;

    // Acts and sights of the guest.
    virtual Task<void> power_off(DomId dom) = 0;
    virtual Task<void> reboot(DomId dom) = 0;
    virtual Task<void> panic(DomId dom) = 0;
    virtual Task<double> uptime(DomId dom) = 0;
    virtual Task<std::vector<std::string>> disks(DomId dom) = 0;  // their sizes
    virtual Task<std::vector<std::string>> nics(DomId dom) = 0;   // their MACs
    virtual Task<std::string> cd(DomId dom) = 0;  // the first bytes, empty: no medium
    /// The word on its disks that begins so; empty: on none of them.
    virtual Task<std::string> find(DomId dom, std::string beginning) = 0;
    virtual Task<std::string> cpus(DomId dom) = 0;  // how many it uses
    /// The version of the TPM that it sees; empty: it sees none.
    virtual Task<std::string> tpm(DomId dom) = 0;
    /// Has its TPM keep four characters, which last.
    virtual Task<void> keep_in_tpm(DomId dom, std::string four) = 0;
    /// Those four characters; empty: there are none.
    virtual Task<std::string> kept_in_tpm(DomId dom) = 0;
    /// The process below a guest dies.
    virtual void kill(DomId dom) = 0;
    /// Processes and files that exist for a VM.
    virtual std::vector<std::string> traces(std::string uuid) = 0;
};

/// Null with a reason printed when it cannot run here.
std::unique_ptr<Bench> make_sim_bench();
std::unique_ptr<Bench> make_qemu_bench();
std::unique_ptr<Bench> make_xen_bench();

constexpr std::int64_t disk_bytes = std::int64_t{4} * 1024 * 1024;

/// Reads a console until `text` comes. Throws INTERNAL_ERROR with what came instead.
Task<std::string> read_until(Loop& loop, int fd, std::string text, Duration limit);

}  // namespace basalt::hv::contract
