#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "host-agent/core/backends.hpp"
#include "hypervisor/api/interface_maker.hpp"

/// A machine as plain data, for tests: what runs, what is open, what is plugged. It survives the
/// agent as a real machine survives hostd. Every verb takes a moment, may be made to fail, and
/// throws as soon as an invariant is broken.
namespace basalt::agent::testing {

struct Machine {
    explicit Machine(Loop& owner) : loop(owner) {}

    Loop& loop;
    std::int64_t last_domid = 0;
    std::map<hv::DomId, hv::DomainConfig> domains;
    std::map<hv::DomId, bool> running;
    std::map<std::pair<std::string, std::string>, DiskRef> open;  // (vm, device)
    std::map<std::string, std::string> ports;                     // tap -> bridge
    std::map<std::string, std::string> images;                    // VDI -> vm that was saved
    std::set<std::string> disks;                                  // VDIs
    std::map<std::string, int> faults;                            // verb -> how often it fails yet
    bool makes_interfaces = false;                                // NICs bring theirs along
    std::set<std::string> deaf;                                   // VMs that do not shut down
    std::vector<std::string> broken;                              // invariants that did not hold
    hv::Events* events = nullptr;

    /// A moment passes; throws INTERNAL_ERROR ["fault", verb] if so ordered.
    Task<void> moment(std::string verb);
    void check(bool holds, const std::string& what);

    [[nodiscard]] bool idle() const { return domains.empty() && open.empty() && ports.empty(); }

    /// The guest ends by itself.
    void guest_ends(const std::string& vm, HaltReason reason);
    [[nodiscard]] hv::DomId domid(const std::string& vm) const;
};

class MachineHypervisor final : public hv::Hypervisor, public hv::InterfaceMaker {
  public:
    explicit MachineHypervisor(Machine& machine) : machine_(machine) {}

    Task<std::vector<DomainInfo>> adopt(hv::Events& events) override;
    [[nodiscard]] std::vector<DomainInfo> domains() const override;
    Task<hv::DomId> create(hv::DomainConfig config, hv::Progress progress) override;
    Task<hv::DomId> restore(hv::DomainConfig config, UniqueFd source,
                            hv::Progress progress) override;
    Task<void> set_running(hv::DomId dom, bool running) override;
    Task<void> request(hv::DomId dom, hv::GuestRequest what) override;
    Task<void> reset(hv::DomId dom) override;
    Task<void> destroy(hv::DomId dom) override;
    Task<void> save(hv::DomId dom, UniqueFd sink, hv::Progress progress) override;
    Task<void> plug_disk(hv::DomId dom, hv::DiskAttachment disk) override;
    Task<void> unplug_disk(hv::DomId dom, std::string device, bool force) override;
    Task<void> change_medium(hv::DomId dom, hv::DiskAttachment disk) override;
    Task<void> plug_nic(hv::DomId dom, hv::NicAttachment nic) override;
    Task<void> unplug_nic(hv::DomId dom, std::int64_t device, bool force) override;
    Task<void> disk_resized(hv::DomId dom, std::string device, std::int64_t size_bytes) override;
    Task<UniqueFd> open_console(hv::DomId dom, ConsoleKind kind) override;
    Task<Facts> facts() override;

    [[nodiscard]] bool makes_interfaces() const override { return machine_.makes_interfaces; }

  private:
    hv::DomainConfig& config_of(hv::DomId dom);

    Machine& machine_;
};

class MachineStorage final : public sm::Storage {
  public:
    explicit MachineStorage(Machine& machine) : machine_(machine) {}

    Task<void> adopt() override;
    Task<std::vector<SmFacts>> storage_drivers() override;
    Task<std::string> sr_probe(SrProbeArgs args) override;
    Task<void> sr_create(SrCreateArgs args) override;
    Task<void> sr_destroy(SrDestroyArgs args) override;
    Task<SrInfo> sr_attach(SrAttachArgs args) override;
    Task<void> sr_detach(SrDetachArgs args) override;
    Task<SrInfo> sr_stat(SrStatArgs args) override;
    Task<SrContents> sr_scan(SrScanArgs args) override;
    Task<VdiInfo> vdi_create(VdiCreateArgs args) override;
    Task<void> vdi_destroy(VdiDestroyArgs args) override;
    Task<VdiInfo> vdi_snapshot(VdiSnapshotArgs args) override;
    Task<VdiInfo> vdi_clone(VdiCloneArgs args) override;
    Task<VdiInfo> vdi_revert(VdiRevertArgs args) override;
    Task<VdiInfo> vdi_copy(VdiCopyArgs args, rpc::Progress progress) override;
    Task<VdiInfo> vdi_resize(VdiResizeArgs args) override;
    Task<UniqueFd> vdi_open(VdiOpenArgs args) override;
    Task<UniqueFd> vdi_export(VdiExportArgs args) override;
    Task<std::string> vdi_changes(VdiChangesArgs args) override;
    Task<UniqueFd> vdi_import(VdiImportArgs args) override;
    Task<sm::DiskServer> open_disk(std::string vm, DiskSpec spec) override;
    Task<void> close_disk(std::string vm, std::string device) override;
    Task<void> close_all(std::string vm) override;
    [[nodiscard]] std::vector<std::string> vms() const override;

  private:
    Machine& machine_;
};

class MachineNetwork final : public nm::Network {
  public:
    explicit MachineNetwork(Machine& machine) : machine_(machine) {}

    [[nodiscard]] std::string backend() const override { return "sim"; }

    Task<NetworkHave> have() override;
    Task<NetworkHave> apply(NetworkWant want) override;
    Task<void> add_port(nm::PortWant port) override;
    Task<void> remove_port(std::string name) override;
    Task<std::vector<std::string>> ports() override;
    Task<std::vector<NicFacts>> interfaces() override;

    int applied = 0;

  private:
    Machine& machine_;
};

class MachineServices final : public Services {
  public:
    Task<HostFacts> facts() override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;
    Task<bool> has_extension(std::string name) override;
    Task<std::string> extension_call(ExtensionCallArgs args) override;
    agent::Machine& machine() override;
    Task<HostTime> time() override;
    Task<UniqueFd> open_console() override;
};

class MachineImages final : public Images {
  public:
    explicit MachineImages(Machine& machine) : machine_(machine) {}

    Task<void> store(hv::DiskAttachment disk, Use fill) override;
    Task<void> load(hv::DiskAttachment disk, Use drain) override;

  private:
    Machine& machine_;
};

}  // namespace basalt::agent::testing
