#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "host-agent/core/backends.hpp"
#include "host-agent/sim/sim_host.hpp"

namespace basalt::agent::sim {

/// A machine whose settings are values. It outlives hostd.
class SimMachine final : public Machine {
  public:
    Task<void> power(PowerAct act) override;
    Task<void> change(HostChange change) override;
    Task<HostClock> clock() override;
    Task<void> debug_keys(std::string keys) override;
    Task<std::vector<std::string>> timezones() override;
    Task<std::string> log(HostLog which, bool clear) override;
    Task<UniqueFd> bundle(std::vector<std::string> entries, std::string format) override;
    Task<std::vector<UsbFacts>> usb_devices() override;
    Task<std::string> usb_node(UsbSpec spec) override;
    Task<std::vector<PciFacts>> pci_devices() override;
    Task<PciHiding> pci_hiding() override;
    Task<PciHiding> pci_hide(std::string address, bool hidden) override;
    Task<std::string> pci_functions(std::string address, bool enabled) override;
    Task<Account> account(std::string who) override;
    /// What a reboot does to it.
    void reboot();

    /// What has been set so far; absent members were never set.
    HostChange settings;
    /// The acts that were begun. Nothing happens by itself: a test loses the power, say.
    std::vector<PowerAct> acts;
    std::string kernel_log = "[    0.000000] a simulated machine\n";
    std::map<std::string, Account> accounts;  // by name
    std::map<std::string, UsbFacts> usbs;     // by path
    std::map<std::string, PciFacts> pcis;     // by address; virtual functions come and go by verbs
    PciHiding hiding;
    std::string boots_from;  // address of a device
    /// The next change fails so.
    std::optional<ApiError> fault;
};

/// One user, root, whose password changes as asked; no plug-ins. Or those of `Options::services`.
class SimServices final : public Services {
  public:
    SimServices(Loop& loop, Options& options, SimMachine& machine)
        : loop_(loop), options_(options), machine_(machine) {}

    Task<HostFacts> facts() override;
    Task<void> login(LoginArgs args) override;
    Task<void> change_password(ChangePasswordArgs args) override;
    Task<std::string> plugin_call(PluginCallArgs args) override;
    Task<bool> has_extension(std::string name) override;
    Task<std::string> extension_call(ExtensionCallArgs args) override;

    Machine& machine() override {
        return options_.services ? options_.services->machine() : machine_;
    }

    Task<HostTime> time() override;
    Task<UniqueFd> open_console() override;

  private:
    Loop& loop_;
    Options& options_;
    SimMachine& machine_;
    std::vector<UniqueFd> consoles_;
};

/// Suspend images beside the simulated disks.
class SimImages final : public Images {
  public:
    explicit SimImages(Shared& shared) : shared_(shared) {}

    Task<void> store(hv::DiskAttachment disk, Use fill) override;
    Task<void> load(hv::DiskAttachment disk, Use drain) override;

  private:
    Shared& shared_;
};

}  // namespace basalt::agent::sim
