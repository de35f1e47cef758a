#pragma once
#include "xapi/core/hosts.hpp"
#include "xapi/domain/appliance.hpp"
#include "xapi/domain/figures.hpp"
#include "xapi/domain/kept_states.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/unresolved.hpp"
#include "xapi/domain/vif.hpp"

namespace basalt::domain {

/// The records of a host that nobody saw yet: host and CPUs, dom0, PIFs, SRs, SM records; for the
/// first one those of the pool too: pool, internal network, templates, roles. One transaction: a
/// crash leaves all or none.
xenapi::Ref<xenapi::Host> first_boot_records(core::Core& core, db::Txn& txn,
                                             const agent::HostFacts& facts,
                                             const std::vector<agent::SmFacts>& drivers);

/// The host's address and its interfaces, as the host tells them.
void land_addresses(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                    const agent::HostFacts& facts);

/// What may have changed since the host was last seen: versions, memory, interfaces, drivers.
void refresh_host(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                  const agent::HostFacts& facts, const std::vector<agent::SmFacts>& drivers);

/// The control domain's memory; only at a boot of the host, before any guest runs.
void land_control_domain_memory(db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                                const agent::HostFacts& facts);

/// Templates that every pool has; existing ones stay as they are.
void insert_default_templates(core::Core& core, db::Txn& txn);

/// The coordinator's view of its hosts: start of day when one appears, then what it tells.
class HostKeeper final : public core::HostWatcher {
  public:
    HostKeeper(core::Core& core, PbdDomain& pbds, VifDomain& vifs, Storage& storage,
               ApplianceDomain& appliances, const Networks& networks, KeptStates& states)
        : core_(core),
          pbds_(pbds),
          vifs_(vifs),
          storage_(storage),
          appliances_(appliances),
          networks_(networks),
          states_(states),
          figures_(core) {}

    /// Ends what goes on behind; nothing of this object runs afterwards.
    Task<void> stop();

    Task<xenapi::Ref<xenapi::Host>> host_appeared(agent::HostFacts facts,
                                                  agent::Host& agent) override;
    void host_lost(xenapi::Ref<xenapi::Host> host) override;
    void on_domain(xenapi::Ref<xenapi::Host> host, agent::DomainInfo domain) override;
    void on_guest(xenapi::Ref<xenapi::Host> host, agent::GuestFacts facts) override;
    void on_memory(xenapi::Ref<xenapi::Host> host, agent::MemoryFacts facts) override;
    void on_nics(xenapi::Ref<xenapi::Host> host, std::vector<agent::NicFacts> nics) override;
    void on_state(xenapi::Ref<xenapi::Host> host, agent::StateRef state) override;
    void on_usage(xenapi::Ref<xenapi::Host> host, agent::HostUsage usage) override;

  private:
    using Running = std::map<std::string_view, const agent::DomainInfo*>;  ///< by uuid

    /// Its records, and what is known without looking at the guests. Answers whether the host has
    /// booted since it was last seen.
    std::pair<xenapi::Ref<xenapi::Host>, bool> land_appearance(
        const agent::HostFacts& facts, const std::vector<agent::SmFacts>& drivers,
        Unresolved& unresolved);
    Task<void> power_on_when(xenapi::Ref<xenapi::Host> host);
    Task<void> plug_storage(xenapi::Ref<xenapi::Host> host, agent::Host& agent, NextOperation next);
    Task<std::size_t> settle_guests(xenapi::Ref<xenapi::Host> host, agent::Host& agent,
                                    NextOperation next);
    Task<void> resync_domains(xenapi::Ref<xenapi::Host> host,
                              const std::vector<agent::DomainInfo>& domains,
                              db::Generation asked_at);
    /// Answers whether what the host said still holds for that VM.
    bool resync_domain(db::Txn& txn, xenapi::Ref<xenapi::Host> host, xenapi::Ref<xenapi::Vm> vm,
                       const Running& running, db::Generation asked_at);
    void land_gone(db::Txn& txn, xenapi::Ref<xenapi::Vm> vm);
    void look_later(xenapi::Ref<xenapi::Host> host, xenapi::Ref<xenapi::Vm> vm);
    Task<void> look_again(xenapi::Ref<xenapi::Host> host, xenapi::Ref<xenapi::Vm> vm);
    agent::NetworkWant wanted_network(xenapi::Ref<xenapi::Host> host);
    /// Answers what it was told; nothing while its network is on probation.
    Task<std::optional<agent::NetworkWant>> tell_network(xenapi::Ref<xenapi::Host> host,
                                                         agent::Host& agent, NextOperation next);
    Task<void> tell_guest_agents(xenapi::Ref<xenapi::Host> host, agent::Host& agent);
    Task<void> tell_cstate(xenapi::Ref<xenapi::Host> host, agent::Host& agent, NextOperation next);
    void land_look(xenapi::Ref<xenapi::Host> host, xenapi::Ref<xenapi::Vm> vm,
                   const std::vector<agent::DomainInfo>& domains);
    core::Core& core_;
    PbdDomain& pbds_;
    VifDomain& vifs_;
    Storage& storage_;
    ApplianceDomain& appliances_;
    const Networks& networks_;
    KeptStates& states_;
    std::shared_ptr<Job> power_on_;
    FigureKeeper figures_;
    std::map<xenapi::Ref<xenapi::Vm>, std::shared_ptr<Job>> looks_;
    std::map<std::string, std::vector<std::string>> asked_;  // operations, by uuid of the host
};

}  // namespace basalt::domain
