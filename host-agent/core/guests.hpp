#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>

#include "host-agent/core/backends.hpp"
#include "host-agent/local/records.hpp"
#include "host-agent/plan/vm_plans.hpp"
#include "host-agent/run/runner.hpp"

namespace basalt::agent {

/// The guests of this host: does the acts of plans on the backends, keeps what each VM runs from,
/// and knows when a guest ended. Loop only.
class Guests final : public Acts {
  public:
    Guests(Loop& loop, Records& records, Backends backends, Host& calls);

    Task<nlohmann::json> perform(plan::Act act, rpc::Progress progress) override;
    nlohmann::json result(const plan::Plan& plan, nlohmann::json last) override;

    [[nodiscard]] plan::Have have(const std::string& vm) const;
    /// Every domain, with what it was started from.
    [[nodiscard]] std::vector<DomainInfo> domains() const;
    [[nodiscard]] std::optional<DomainInfo> domain(const std::string& vm) const;
    /// Every VM that this host has promised resources to, with or without a domain.
    [[nodiscard]] std::map<std::string, VmSpec> remembered() const;
    Task<void> remember(VmSpec spec);
    /// When the VM's last domain was made by this process, in seconds since 1970.
    [[nodiscard]] std::optional<std::int64_t> started_at(const std::string& vm) const;

    /// The guest shut down, rebooted or crashed, whether its domain is still there or not: wakes
    /// the plan that waits for it.
    void note_ended(const std::string& vm);

  private:
    struct Watch {
        std::uint64_t ends = 0;
        std::uint64_t ends_when_asked = 0;
        std::optional<std::int64_t> started_at;
    };

    /// What it was started from, as it is remembered.
    void add_spec(DomainInfo& info) const;
    Task<nlohmann::json> call(plan::Act act, rpc::Progress progress);
    Task<void> act_on_domain(plan::Act act, rpc::Progress progress);
    Task<void> change_live(hv::DomId dom, plan::Act act);
    Task<void> act_on_host(plan::Act act);
    Task<void> ask(hv::DomId dom, plan::Act act);
    Task<void> await_end(plan::Act act);
    Task<void> ask_again(plan::Act act);
    Task<void> destroy(std::string vm);
    Task<void> forget(std::string vm);
    Task<void> create(plan::Act act, rpc::Progress progress);
    Task<void> add_port(NicSpec nic);
    Task<void> plug_nic(hv::DomId dom, plan::Act act);
    Task<void> connect_interfaces(std::string vm);
    Task<void> save(hv::DomId dom, plan::Act act, rpc::Progress progress);
    Task<void> restore(plan::Act act, rpc::Progress progress);
    Task<hv::DomainConfig> config(std::string vm, VmSpec spec);
    Task<hv::DiskAttachment> attachment(std::string vm, DiskSpec disk);
    Task<hv::UsbAttachment> usb_attachment(UsbSpec usb);
    Task<void> change_usb(hv::DomId dom, plan::Act act);
    [[nodiscard]] std::optional<hv::DomId> domid(const std::string& vm) const;
    /// The interfaces of NICs come with their domain.
    [[nodiscard]] bool makes_interfaces() const;
    [[nodiscard]] bool has_nic(const std::string& vm, std::int64_t device) const;

    Loop& loop_;
    Records& records_;
    Backends backends_;
    Host& calls_;
    std::map<std::string, std::map<std::string, hv::DiskAttachment>> open_;
    std::map<std::string, Watch> watches_;
    Signal changed_;
};

}  // namespace basalt::agent
