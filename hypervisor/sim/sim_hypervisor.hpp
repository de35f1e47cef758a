#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.hpp"
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/api/live_changes.hpp"
#include "hypervisor/api/live_migration.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/api/state_keeper.hpp"
#include "hypervisor/api/usb_passthrough.hpp"

/// Guests in memory, in the loop's time: what a simulated host runs. The same seed gives the same
/// events in the same order.
namespace basalt::hv {

/// How a guest behaves; by VM uuid, or for all.
struct SimScript {
    Duration boots_after = 2s;       // running time until it is up and its facts appear
    Duration shuts_down_after = 1s;  // from the request
    bool answers_requests = true;    // false: it ignores shutdown and reboot
    bool releases_devices = true;    // false: unplug runs into its time limit
    bool has_agent = true;
    bool balloons = true;                   // false: it keeps all the memory it was made with
    Duration balloons_after = 300ms;        // from the order, or from when it is up
    std::optional<Duration> crashes_after;  // running time after boot
};

/// The machine below: domains live here, as processes do, and outlive a SimHypervisor. Two of them
/// over one host, one after the other, are a restart of hostd.
class SimHost {
  public:
    explicit SimHost(Loop& loop);
    ~SimHost();
    SimHost(const SimHost&) = delete;
    SimHost& operator=(const SimHost&) = delete;

    SimScript script;                                // for VMs without one of their own
    std::map<std::string, SimScript> scripts;        // by VM uuid
    std::map<std::string, Duration> verb_durations;  // by verb; 5 ms otherwise
    std::string fresh_variables;                     // of the firmware of a new machine

    /// The next `times` calls of a verb (`create`, `plug_disk`, ...) throw. A create, restore, save
    /// or send fails half way, after it has begun.
    void fail(const std::string& verb, ApiError error, int times = 1);
    /// The power goes: all domains are gone and nobody is told.
    void lose_power();

    // What a guest does of its own accord. Unknown uuids are ignored.
    void power_off(const std::string& uuid);
    void reboot(const std::string& uuid);
    void crash(const std::string& uuid);
    /// Its process dies.
    void kill(const std::string& uuid);
    void say(const std::string& uuid, const std::string& text);
    /// Its machine writes what is kept while it is off: of a TPM it does so at each boot, too.
    void write_state(const std::string& uuid, agent::StateKind kind, const std::string& bytes);

    // What a guest sees.
    [[nodiscard]] bool up(const std::string& uuid) const;
    /// Running time since its last boot.
    [[nodiscard]] Duration uptime(const std::string& uuid) const;
    [[nodiscard]] std::optional<DomainConfig> config(const std::string& uuid) const;
    /// Size of a disk, once `disk_resized` told.
    [[nodiscard]] std::int64_t disk_bytes(const std::string& uuid, const std::string& device) const;
    /// Signals that came to a guest, oldest first: "nmi", "sysrq b".
    [[nodiscard]] std::vector<std::string> signals(const std::string& uuid) const;
    /// VMs of which nothing is kept any more, oldest first.
    [[nodiscard]] const std::vector<std::string>& purged() const;
    /// What is kept of a VM here; empty: nothing.
    [[nodiscard]] std::string kept(const std::string& uuid, agent::StateKind kind) const;
    [[nodiscard]] std::size_t domain_count() const;
    /// VM uuids, one for each domain.
    [[nodiscard]] std::vector<std::string> domain_vms() const;

    struct State;

  private:
    friend class SimHypervisor;
    std::shared_ptr<State> state_;
};

class SimHypervisor final : public Hypervisor,
                            public Meter,
                            public LiveChanges,
                            public LiveMigration,
                            public StateKeeper,
                            public UsbPassthrough {
  public:
    /// `host` must outlive it.
    explicit SimHypervisor(SimHost& host);
    /// Lets go of the guests; they run on.
    ~SimHypervisor() override;
    SimHypervisor(const SimHypervisor&) = delete;
    SimHypervisor& operator=(const SimHypervisor&) = delete;

    Task<std::vector<agent::DomainInfo>> adopt(Events& events) override;
    [[nodiscard]] std::vector<agent::DomainInfo> domains() const override;
    [[nodiscard]] std::optional<agent::DomainInfo> domain(const std::string& vm) const override;
    Task<DomId> create(DomainConfig config, Progress progress) override;
    Task<DomId> restore(DomainConfig config, UniqueFd source, Progress progress) override;
    Task<void> set_running(DomId dom, bool running) override;
    Task<void> request(DomId dom, GuestRequest what) override;
    Task<void> reset(DomId dom) override;
    Task<void> destroy(DomId dom) override;
    Task<void> save(DomId dom, UniqueFd sink, Progress progress) override;
    Task<std::vector<std::string>> movable_kinds() override;
    Task<void> send(DomId dom, UniqueFd sink, Progress progress) override;
    Task<void> plug_disk(DomId dom, DiskAttachment disk) override;
    Task<void> unplug_disk(DomId dom, std::string device, bool force) override;
    Task<void> change_medium(DomId dom, DiskAttachment disk) override;
    Task<void> plug_nic(DomId dom, NicAttachment nic) override;
    Task<void> unplug_nic(DomId dom, std::int64_t device, bool force) override;
    Task<void> disk_resized(DomId dom, std::string device, std::int64_t size_bytes) override;
    Task<void> plug_usb(DomId dom, UsbAttachment device) override;
    Task<void> unplug_usb(DomId dom, std::string vusb) override;
    Task<void> set_memory_target(DomId dom, std::int64_t bytes) override;
    Task<void> set_vcpus(DomId dom, std::int64_t count) override;
    Task<void> set_cpu_shares(DomId dom, agent::CpuShares shares) override;
    Task<void> send(DomId dom, agent::GuestSignal signal, std::string key) override;
    Task<void> purge(std::string vm_uuid) override;
    Task<KeptBytes> read_state(std::string vm_uuid, agent::StateKind kind) override;
    Task<void> write_state(std::string vm_uuid, agent::StateKind kind, KeptBytes state) override;
    Task<void> note_told(std::string vm_uuid, agent::StateKind kind, std::string digest,
                         std::string tag) override;
    Task<std::vector<agent::StateRef>> changed_states() override;
    Task<UniqueFd> open_console(DomId dom, agent::ConsoleKind kind) override;
    Task<Facts> facts() override;
    /// Figures that follow from the guest's running time alone: each processor is a quarter busy,
    /// each disk reads a MiB and writes half a MiB a second in requests of 64 KiB and 10 ms.
    Task<std::vector<DomainReading>> measure() override;

  private:
    std::shared_ptr<SimHost::State> host_;
    std::uint64_t generation_;
};

}  // namespace basalt::hv
