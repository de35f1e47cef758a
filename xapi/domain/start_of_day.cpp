#include "xapi/domain/start_of_day.hpp"

#include <malloc.h>

#include <algorithm>
#include <map>
#include <span>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/console.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/guest_agents.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/pci.hpp"
#include "xapi/domain/sriov.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/vm_landing.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

const std::string boot_id_key = "boot_id";
constexpr std::size_t landed_at_once = 4;
constexpr std::size_t many_guests = 256;

// Whether the domain is one that the host is about to take away. For the VM it is not there, but
// until it is gone the VM starts nowhere.
bool land_left_over(db::Txn& txn, Ref<Vm> vm, Ref<Host> host, bool left_over) {
    const bool noted = txn.get(vm).left_over_on == host;
    if (noted != left_over) txn.edit(vm).left_over_on = left_over ? host : Ref<Host>{};
    return left_over;
}

bool is_steady(const Vm& vm) {
    return vm.current_operations.empty();
}

void land_liveness(core::Core& core, db::Txn& txn, Ref<Host> host, bool live) {
    const Ref<HostMetrics> metrics = txn.get(host).metrics;
    if (txn.find(metrics) == nullptr) return;
    txn.edit(metrics).live = live;
    txn.edit(metrics).last_updated = DateTime{core.now_seconds()};
}

void note_end(core::Core& core, db::Txn& txn, Ref<Vm> vm, const agent::DomainInfo& domain) {
    const Vm& row = txn.get(vm);
    const bool crashed = domain.reason == agent::HaltReason::crashed;
    post_message(core, txn, crashed ? "VM_CRASHED" : "VM_SHUTDOWN", crashed ? 2 : 5, Cls::vm,
                 row.uuid, "VM '" + row.name_label + "'");
}

}  // namespace

Task<void> HostKeeper::stop() {
    if (power_on_) {
        power_on_->cancel();
        co_await power_on_->wait();
    }
    for (const auto& [vm, job] : looks_)
        job->cancel();
    while (!looks_.empty()) {
        const auto job = looks_.begin()->second;
        co_await job->wait();
        std::erase_if(looks_, [&](const auto& look) { return look.second == job; });
    }
    co_await figures_.stop();
}

std::pair<Ref<Host>, bool> HostKeeper::land_appearance(const agent::HostFacts& facts,
                                                       const std::vector<agent::SmFacts>& drivers,
                                                       Unresolved& unresolved) {
    return core_.db.transact_fact([&](db::Txn& txn) {
        Ref<Host> known;
        txn.each<Host>([&](Ref<Host> ref, const Host& row) {
            if (row.uuid == facts.uuid) known = ref;
        });
        if (!known) known = first_boot_records(core_, txn, facts, drivers);
        unresolved.land(txn, known);
        const bool booted_anew = txn.get(known).other_config.get(boot_id_key) != facts.boot_id;
        if (booted_anew) {
            // A new boot is proof that nothing of the old one runs.
            txn.each<Vm>([&](Ref<Vm> vm, const Vm& row) {
                if (row.resident_on == known && !row.is_control_domain) land_gone(txn, vm);
            });
            for (const auto pbd : std::vector(txn.get(known).PBDs))
                txn.edit(pbd).currently_attached = false;
            txn.edit(known).enabled = false;
            land_control_domain_memory(txn, known, facts);
        }
        refresh_host(core_, txn, known, facts, drivers);
        land_liveness(core_, txn, known, true);
        return std::pair{known, booted_anew};
    });
}

// Not where it should be. A guest that sleeps is nowhere: only the attempt to wake it is over.
void HostKeeper::land_gone(db::Txn& txn, Ref<Vm> vm) {
    if (txn.get(vm).power_state == VmPowerState::suspended) {
        end_promise(txn, vm);
    } else {
        land_halted(core_, txn, vm);
    }
}

Task<Ref<Host>> HostKeeper::host_appeared(agent::HostFacts facts, agent::Host& agent) {
    // Those of a start of day that was broken off are still there.
    std::vector<std::string>& asked = asked_[facts.uuid];
    const NextOperation next = [this, &asked] {
        asked.push_back(core_.new_uuid());
        return agent::Operation{asked.back(), core_.term, {}};
    };
    // First, so that nothing asked by an earlier coordinator changes the host behind what follows.
    Unresolved unresolved(core_, storage_, co_await agent.resolve({core_.term}));
    const std::vector<agent::SmFacts> drivers = co_await agent.storage_drivers({});
    const auto [host, booted_anew] = land_appearance(facts, drivers, unresolved);
    core_.db.each<Pool>([&](Ref<Pool> pool, const Pool& row) {
        core_.pool = pool;
        core_.this_host = row.master;
    });
    co_await core_.db.durable(core_.db.published());
    std::optional<agent::NetworkWant> told = co_await tell_network(host, agent, next);
    if (booted_anew) co_await tell_cstate(host, agent, next);
    if (booted_anew && facts.hypervisor == "xen") co_await tell_guest_agents(host, agent);
    co_await plug_storage(host, agent, next);
    const std::size_t guests = co_await settle_guests(host, agent, next);
    // What was told of so many took several times what is kept of them, and is gone.
    if (guests >= many_guests) co_await blocking(core_.loop, [] { ::malloc_trim(0); });
    const std::vector<agent::UsbFacts> usbs = co_await agent.usb_devices({});
    if (booted_anew) co_await divide_again(core_, host, agent, next);
    const std::vector<agent::PciFacts> pcis = co_await agent.pci_devices({});
    core_.db.transact_fact([&](db::Txn& txn) {
        land_usb_devices(txn, host, usbs);
        land_pci_devices(txn, host, pcis);
    });
    co_await states_.host_appeared(agent);
    co_await unresolved.clean(agent, next);
    co_await storage_.sweep(host, agent, next);
    // A host that its administrator disabled stays so until it boots again. The boot counts as seen
    // only now, so that a start of day that was broken off is done again.
    if (booted_anew) {
        core_.db.transact_fact([&](db::Txn& txn) {
            txn.edit(host).enabled = true;
            txn.edit(host).other_config.insert_or_assign(boot_id_key, facts.boot_id);
        });
    }
    std::vector<std::string> settled = unresolved.settled();
    for (;;) {
        co_await core_.db.durable(core_.db.published());
        std::ranges::copy(asked, std::back_inserter(settled));
        co_await agent.acknowledge({std::exchange(settled, {})});
        asked.clear();
        // Until now, changes of networks were told to the other hosts only.
        if (!told || *told == wanted_network(host)) break;
        told = co_await tell_network(host, agent, next);
    }
    core_.booted = core_.booted || host == core_.this_host;
    if (booted_anew && host == core_.this_host && !core_.stopping)
        power_on_ = spawn(core_.loop, "power on", power_on_when(host));
    log::info("host_ready", {{"host", facts.uuid}});
    co_return host;
}

// As soon as the host can be asked for more than its start of day.
Task<void> HostKeeper::power_on_when(Ref<Host> host) {
    co_await core_.hosts->ready();
    co_await core_.hosts->until_connected(host);
    co_await appliances_.power_on();
}

// A host that comes back in the middle of a change of its network is asked whether it stands.
// A machine forgets it when it is switched off.
Task<void> HostKeeper::tell_cstate(Ref<Host> host, agent::Host& agent, NextOperation next) {
    agent::HostChange change;
    change.max_cstate = core_.db.get(host).max_cstate;
    if (change.max_cstate->empty()) co_return;
    std::string failure;
    try {
        co_await agent.host_change(next(), {std::move(change)});
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty())
        log::warn("cstate_not_limited", {{"host", host.text()}, {"error", failure}});
}

// Xen's store is empty after a boot.
Task<void> HostKeeper::tell_guest_agents(Ref<Host> host, agent::Host& agent) {
    const auto config = core_.db.get(core_.pool).guest_agent_config;
    std::string failure;
    try {
        co_await tell_guest_features(agent, config);
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty())
        log::warn("guest_agents_not_told", {{"host", host.text()}, {"error", failure}});
}

agent::NetworkWant HostKeeper::wanted_network(Ref<Host> host) {
    return core_.db.transact_fact([&](db::Txn& txn) { return network_want(txn, host); });
}

Task<std::optional<agent::NetworkWant>> HostKeeper::tell_network(Ref<Host> host, agent::Host& agent,
                                                                 NextOperation next) {
    if (networks_.is_changing(host)) co_return std::nullopt;
    agent::NetworkWant want = wanted_network(host);
    const agent::NetworkHave have = co_await agent.network_apply(next(), {.want = want});
    core_.db.transact_fact([&](db::Txn& txn) { land_leases(txn, host, have); });
    co_return want;
}

Task<void> HostKeeper::plug_storage(Ref<Host> host, agent::Host& agent, NextOperation next) {
    for (const auto pbd : std::vector(core_.db.get(host).PBDs)) {
        std::string failure;
        try {
            co_await pbds_.attach(pbd, agent, next());
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (failure.empty()) continue;
        log::error("pbd_plug_failed", {{"pbd", pbd.text()}, {"error", failure}});
        core_.db.transact_fact([&](db::Txn& txn) {
            txn.edit(pbd).currently_attached = false;
            post_message(core_, txn, "PBD_PLUG_FAILED_ON_SERVER_START", 3, Cls::host,
                         txn.get(host).uuid, failure);
        });
    }
}

/// Returns how many there are.
Task<std::size_t> HostKeeper::settle_guests(Ref<Host> host, agent::Host& agent,
                                            NextOperation next) {
    const db::Generation asked_at = core_.db.published();
    std::vector<agent::DomainInfo> domains = co_await agent.domains({});
    const std::size_t count = domains.size();
    co_await resync_domains(host, domains, asked_at);
    co_await vifs_.align(host, agent, std::move(domains), next);
    co_return count;
}

// A few guests at a time: a host may have thousands. What changed behind the host's word, while
// others were landed, is looked at again.
Task<void> HostKeeper::resync_domains(Ref<Host> host, const std::vector<agent::DomainInfo>& domains,
                                      db::Generation asked_at) {
    Running running;
    for (const agent::DomainInfo& domain : domains)
        running.emplace(domain.uuid, &domain);
    const db::Rows all = core_.db.snapshot(xenapi::class_of<Vm>());
    const std::vector<const db::Row*> rows = all.pointers();
    std::vector<Ref<Vm>> unclear;
    for (std::span left(rows); !left.empty();) {
        const auto some = left.first(std::min(landed_at_once, left.size()));
        left = left.subspan(some.size());
        co_await core_.turns.next({"", "resync"});
        core_.db.transact_fact([&](db::Txn& txn) {
            for (const db::Row* const row : some)
                if (!resync_domain(txn, host, Ref<Vm>{row->ref}, running, asked_at))
                    unclear.emplace_back(row->ref);
        });
    }
    for (const Ref<Vm> vm : unclear)
        look_later(host, vm);
}

bool HostKeeper::resync_domain(db::Txn& txn, Ref<Host> host, Ref<Vm> vm, const Running& running,
                               db::Generation asked_at) {
    const db::RowPtr now = core_.db.find(xenapi::class_of<Vm>(), vm.uuid());
    if (!now) return true;
    const Vm& row = now->as<Vm>();
    const auto found = running.find(row.uuid);
    const bool there = found != running.end();
    if (row.is_control_domain) return true;
    const bool left_over = land_left_over(txn, vm, host, there && found->second->left_over);
    const bool should_be_here = row.resident_on == host || row.scheduled_to_be_resident_on == host;
    if ((!there || left_over) && !should_be_here) return true;
    // An operation under way lands its own outcome, but not what else happened meanwhile.
    if (!is_steady(row) || now->modified > asked_at) return false;
    if (there && !left_over) {
        land_running(core_, txn, vm, host, *found->second);
    } else {
        land_gone(txn, vm);
    }
    return true;
}

void HostKeeper::look_later(Ref<Host> host, Ref<Vm> vm) {
    std::erase_if(looks_, [](const auto& look) { return look.second->finished(); });
    if (core_.stopping || looks_.contains(vm)) return;
    looks_[vm] = spawn(core_.loop, "look again", look_again(host, vm));
}

// Once no operation is under way, the host says what is. One that is away says it when it appears.
Task<void> HostKeeper::look_again(Ref<Host> host, Ref<Vm> vm) {
    constexpr Duration long_time = std::chrono::hours(1);
    for (;;) {
        const Vm* row = core_.db.find(vm);
        if (row == nullptr) co_return;
        if (!is_steady(*row)) {
            co_await core_.db.changed_since(core_.db.published(), long_time);
            continue;
        }
        co_await core_.hosts->until_connected(host);
        std::vector<agent::DomainInfo> domains;
        const db::Generation asked_at = core_.db.published();
        try {
            domains = co_await core_.hosts->agent(host).domains({});
        } catch (const ApiError&) {
            co_return;
        }
        const db::RowPtr now = core_.db.find(xenapi::class_of<Vm>(), vm.uuid());
        if (now && now->modified > asked_at) continue;
        if (now) land_look(host, vm, domains);
        co_return;
    }
}

void HostKeeper::land_look(Ref<Host> host, Ref<Vm> vm,
                           const std::vector<agent::DomainInfo>& domains) {
    core_.db.transact_fact([&](db::Txn& txn) {
        const Vm& row = txn.get(vm);
        const auto found = std::ranges::find(domains, row.uuid, &agent::DomainInfo::uuid);
        const bool there = found != domains.end();
        const bool left_over = land_left_over(txn, vm, host, there && found->left_over);
        if (there && !left_over) return land_running(core_, txn, vm, host, *found);
        if (row.resident_on != host) return;
        note_end(core_, txn, vm, {});
        land_gone(txn, vm);
    });
}

void HostKeeper::host_lost(Ref<Host> host) {
    log::warn("host_lost", {{"host", host.text()}});
    figures_.host_lost(host);
    core_.db.transact_fact([&](db::Txn& txn) { land_liveness(core_, txn, host, false); });
}

void HostKeeper::on_domain(Ref<Host> host, agent::DomainInfo domain) {
    const auto vm = core_.db.by_uuid<Vm>(domain.uuid);
    if (!vm) return;
    const bool left_over = core_.db.transact_fact(
        [&](db::Txn& txn) { return land_left_over(txn, *vm, host, domain.left_over); });
    if (!is_steady(core_.db.get(*vm))) return look_later(host, *vm);
    if (left_over) return;
    log::info("domain_changed", {{"vm", domain.uuid}, {"power", agent::text(domain.power)}});
    core_.db.transact_fact([&](db::Txn& txn) {
        if (domain.power == agent::DomainPower::halted) {
            if (txn.get(*vm).resident_on != host) return;
            note_end(core_, txn, *vm, domain);
            land_gone(txn, *vm);
        } else if (domain.power != agent::DomainPower::suspended) {
            land_running(core_, txn, *vm, host, domain);
        }
    });
}

void HostKeeper::on_guest(Ref<Host> host, agent::GuestFacts facts) {
    const auto vm = core_.db.by_uuid<Vm>(facts.uuid);
    if (!vm || core_.db.get(*vm).resident_on != host) return;
    core_.db.transact_fact([&](db::Txn& txn) { land_guest_facts(core_, txn, *vm, facts); });
}

void HostKeeper::on_memory(Ref<Host> host, agent::MemoryFacts facts) {
    const auto vm = core_.db.by_uuid<Vm>(facts.uuid);
    if (!vm || core_.db.get(*vm).resident_on != host) return;
    core_.db.transact_fact([&](db::Txn& txn) { land_memory(core_, txn, *vm, facts); });
}

void HostKeeper::on_nics(Ref<Host> host, std::vector<agent::NicFacts> nics) {
    core_.db.transact_fact([&](db::Txn& txn) {
        for (const auto pif : std::vector(txn.get(host).PIFs))
            for (const agent::NicFacts& nic : nics)
                if (txn.get(pif).physical && txn.get(pif).device == nic.name)
                    land_nic(core_, txn, pif, nic);
        count_bond_links(txn, host);
    });
}

void HostKeeper::on_state(Ref<Host> host, agent::StateRef state) {
    states_.on_state(host, state);
}

void HostKeeper::on_usage(Ref<Host> host, agent::HostUsage usage) {
    figures_.on_usage(host, std::move(usage));
}

}  // namespace basalt::domain
