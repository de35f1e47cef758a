#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/api/live_changes.hpp"
#include "hypervisor/api/live_migration.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/api/state_keeper.hpp"
#include "hypervisor/api/usb_passthrough.hpp"
#include "hypervisor/qemu/plan.hpp"

namespace basalt::hv::qemu {

struct Options {
    /// Sockets and descriptors, a folder a domain; short (socket paths end at 107 characters),
    /// emptied by a reboot of the host or at least not shared with another hostd.
    std::string run_dir;
    /// UEFI variables and TPM contents of each VM; kept.
    std::string nvram_dir;
    Installation installation;
    /// Users and groups of the guests; shared with who serves their disks. Not null.
    std::shared_ptr<Confinement> confinement;
    /// Overrides the probe, for tests.
    std::optional<bool> accelerated;
};

/// Guests as QEMU processes, each in a session of its own: they outlive this object and its
/// process, and `adopt` of the next one finds them.
class QemuHypervisor final : public Hypervisor,
                             public Meter,
                             public LiveChanges,
                             public LiveMigration,
                             public StateKeeper,
                             public UsbPassthrough {
  public:
    QemuHypervisor(RealLoop& loop, Options options);
    /// Lets go of the guests; they run on.
    ~QemuHypervisor() override;
    QemuHypervisor(const QemuHypervisor&) = delete;
    QemuHypervisor& operator=(const QemuHypervisor&) = delete;

    Task<std::vector<agent::DomainInfo>> adopt(Events& events) override;
    [[nodiscard]] std::vector<agent::DomainInfo> domains() const override;
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
    Task<std::vector<DomainReading>> measure() override;

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::hv::qemu
