#pragma once
#include <memory>
#include <string>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/api/interface_maker.hpp"
#include "hypervisor/api/live_changes.hpp"
#include "hypervisor/api/live_migration.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/api/whole_machine.hpp"

namespace basalt::hv::xen {

struct Options {
    /// What is kept of the domains, until the next boot of the host.
    std::string run_dir;
    /// Where the memory of guests that crashed is written; empty: nowhere.
    std::string core_dir;
    /// Where kernels lie that were found in guests' own disks, while they are booted.
    std::string boot_dir;
    /// The UEFI of guests: edk2's OvmfXen. A host may have none (docs/decisions/0025).
    std::string uefi = "/usr/share/basalt/OvmfXen.fd";
    /// Whose users look for them; null: nobody does.
    std::shared_ptr<Confinement> confinement;
};

/// Guests as domains of the Xen below this system, which must be its control domain. They outlive
/// this object and its process. A guest that restarts itself ends its domain: `ended` with
/// `reboot`, after which a new one is made. `create` and `restore` throw OPERATION_NOT_ALLOWED for
/// a guest with a cloud-init drive or a TPM; `create` also for one with UEFI where the host has
/// none for it, and for one with Secure Boot. `create` throws BOOTLOADER_FAILED for one in whose
/// disk no kernel is found.
class XenHypervisor final : public Hypervisor,
                            public InterfaceMaker,
                            public LiveChanges,
                            public LiveMigration,
                            public MachineSeer,
                            public Meter {
  public:
    XenHypervisor(RealLoop& loop, Options options);
    /// Lets go of the guests; they run on.
    ~XenHypervisor() override;
    XenHypervisor(const XenHypervisor&) = delete;
    XenHypervisor& operator=(const XenHypervisor&) = delete;

    Task<std::vector<agent::DomainInfo>> adopt(Events& events) override;
    [[nodiscard]] std::vector<agent::DomainInfo> domains() const override;
    Task<DomId> create(DomainConfig config, Progress progress) override;
    Task<DomId> restore(DomainConfig config, UniqueFd source, Progress progress) override;
    Task<void> set_running(DomId dom, bool running) override;
    Task<void> request(DomId dom, GuestRequest what) override;
    /// Ends the domain as the guest's own restart would.
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
    /// With what is kept of its last crash.
    Task<void> purge(std::string vm_uuid) override;
    Task<UniqueFd> open_console(DomId dom, agent::ConsoleKind kind) override;
    Task<Facts> facts() override;
    Task<WholeMachine> whole_machine() override;

    Task<void> set_memory_target(DomId dom, std::int64_t bytes) override;
    /// A guest with a device model takes more, but cannot be told to use fewer: VM_LACKS_FEATURE.
    Task<void> set_vcpus(DomId dom, std::int64_t count) override;
    Task<void> set_cpu_shares(DomId dom, agent::CpuShares shares) override;
    Task<void> send(DomId dom, agent::GuestSignal signal, std::string key) override;

    /// No time that a processor waited: the library does not tell it.
    Task<std::vector<DomainReading>> measure() override;

    [[nodiscard]] bool makes_interfaces() const override { return true; }

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::hv::xen
