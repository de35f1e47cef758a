// Class host: boot, evacuation, and leaving the pool.
#include <algorithm>
#include <format>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/certificate.hpp"
#include "idl/records/console.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_cpu.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/session.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/tunnel.hpp"
#include "idl/records/vlan.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/vm_landing.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// The script by which a pool wakes a host, as other servers of this API call it.
constexpr const char* wake_plugin = "power-on-host";

bool is_guest_of(const Vm& vm, Ref<Host> host) {
    return vm.resident_on == host && !vm.is_control_domain;
}

void require_empty(const db::Txn& txn, Ref<Host> host) {
    if (txn.get(host).enabled) throw err::host_not_disabled();
    for (const auto& [task, operation] : txn.get(host).current_operations)
        throw err::other_operation_in_progress("host", host, wire_text(operation), task);
    txn.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
        if (is_guest_of(vm, host)) throw err::host_in_use(host, "VM", ref);
    });
}

/// Why each guest cannot leave the host: no guest can be moved while it runs, and where there is
/// no other host it never can.
Map<Ref<Vm>, std::vector<std::string>> why_guests_stay(const db::Database& db, Ref<Host> host) {
    const bool alone = db.count(class_of<Host>()) < 2;
    Map<Ref<Vm>, std::vector<std::string>> out;
    db.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
        if (!is_guest_of(vm, host)) return;
        if (alone)
            out.emplace(ref, {"NO_HOSTS_AVAILABLE", ref.text()});
        else
            out.emplace(ref, {"NOT_IMPLEMENTED", "VM.pool_migrate"});
    });
    return out;
}

void require_evacuation_possible(const db::Database& db, Ref<Host> host) {
    (void)db.get(host);
    std::string errors;
    for (const auto& [vm, words] : why_guests_stay(db, host)) {
        if (!errors.empty()) errors += "|";
        for (std::size_t i = 0; i < words.size(); ++i)
            errors += (i == 0 ? "" : ",") + words[i];
    }
    if (!errors.empty()) throw err::cannot_evacuate_host(errors);
}

// A host that answers is alive; the coordinator that serves this call is.
void require_dead(const core::Core& core, const db::Txn& txn, Ref<Host> host) {
    (void)txn.get(host);
    if (host == core.this_host) throw err::host_cannot_destroy_self(host);
    if (core.hosts->connected(host)) throw err::host_is_live(host);
}

void erase_interfaces(db::Txn& txn, Ref<Host> host) {
    for (const auto pif : std::vector(txn.get(host).PIFs)) {
        if (const Ref<Vlan> vlan = txn.get(pif).VLAN_master_of; txn.find(vlan) != nullptr)
            txn.erase(vlan);
        for (const auto tunnel : std::vector(txn.get(pif).tunnel_access_PIF_of))
            txn.erase(tunnel);
    }
    for (const auto pif : std::vector(txn.get(host).PIFs)) {
        const Ref<PifMetrics> metrics = txn.get(pif).metrics;
        txn.erase(pif);
        // A VLAN's interface shows its carrier's.
        if (txn.find(metrics) != nullptr) txn.erase(metrics);
    }
}

void erase_repositories(db::Txn& txn, Ref<Host> host) {
    for (const auto pbd : std::vector(txn.get(host).PBDs)) {
        const Ref<Sr> sr = txn.get(pbd).SR;
        txn.erase(pbd);
        bool elsewhere = false;
        txn.each<Pbd>([&](Ref<Pbd>, const Pbd& other) { elsewhere |= other.SR == sr; });
        // One that only this host had and that holds nothing is gone with it; one with disks stays,
        // so that an administrator sees what was lost.
        if (!elsewhere && !txn.get(sr).shared && txn.get(sr).VDIs.empty()) txn.erase(sr);
    }
}

void erase_control_domain(db::Txn& txn, Ref<Vm> dom0) {
    if (txn.find(dom0) == nullptr) return;
    for (const auto console : std::vector(txn.get(dom0).consoles))
        txn.erase(console);
    txn.erase(dom0);
}

void erase_host(db::Txn& txn, Ref<Host> host) {
    erase_interfaces(txn, host);
    erase_repositories(txn, host);
    for (const auto cpu : std::vector(txn.get(host).host_CPUs))
        txn.erase(cpu);
    for (const auto certificate : std::vector(txn.get(host).certificates))
        txn.erase(certificate);
    txn.each<Session>([&](Ref<Session> session, const Session& row) {
        if (row.this_host == host) txn.erase(session);
    });
    txn.each<Vm>([&](Ref<Vm> vm, const Vm& row) {
        if (row.left_over_on == host) txn.edit(vm).left_over_on = {};
    });
    erase_control_domain(txn, txn.get(host).control_domain);
    const Ref<HostMetrics> metrics = txn.get(host).metrics;
    txn.erase(host);
    if (txn.find(metrics) != nullptr) txn.erase(metrics);
}

}  // namespace

Task<void> HostDomain::switch_power(Call& call, Ref<Host> host, agent::PowerAct act,
                                    HostAllowedOperations what) {
    core::Operation operation(call);
    call.db().transact([&](db::Txn& txn) {
        require_empty(txn, host);
        operation.mark(txn, host, what);
    });
    co_await call.committed();
    co_await core_.hosts->agent(host).host_power(call.operation(), {act});
}

Task<void> HostDomain::reboot(Call& call, HostReboot params) {
    return switch_power(call, params.host, agent::PowerAct::reboot, HostAllowedOperations::reboot);
}

Task<void> HostDomain::shutdown(Call& call, HostShutdown params) {
    return switch_power(call, params.host, agent::PowerAct::poweroff,
                        HostAllowedOperations::shutdown);
}

Task<void> HostDomain::restart_agent(Call& call, HostRestartAgent params) {
    (void)call.db().get(params.host);
    co_await core_.hosts->agent(params.host)
        .host_power(call.operation(), {agent::PowerAct::restart_toolstack});
}

Task<void> HostDomain::power_on(Call& call, HostPowerOn params) {
    const Host& row = call.db().get(params.host);
    if (core_.hosts->connected(params.host)) throw err::host_is_live(params.host);
    if (row.power_on_mode.empty()) throw err::host_power_on_mode_disabled();
    agent::PluginCallArgs wake;
    wake.plugin = wake_plugin;
    wake.function = "main";
    wake.args = {{"remote_host_uuid", row.uuid}};
    wake.session = call.caller().session.text();
    co_await core_.hosts->local().plugin_call(std::move(wake));
}

Task<void> HostDomain::shutdown_agent(Call& call) {
    return restart_agent(call, {core_.this_host});
}

// The machine goes down in any case, so nothing is asked of it but what must not be lost.
Task<void> HostDomain::prepare_for_poweroff(Call& call, HostPrepareForPoweroff params) {
    return sync_data(call, {params.host});
}

Task<void> HostDomain::set_power_on_mode(Call& call, HostSetPowerOnMode params) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(params.self).power_on_mode = params.power_on_mode;
        txn.edit(params.self).power_on_config = params.power_on_config;
    });
    co_return;
}

Task<void> HostDomain::evacuate(Call& call, HostEvacuate params) {
    if (params.evacuate_batch_size < 0)
        throw err::invalid_value("evacuate_batch_size", std::to_string(params.evacuate_batch_size));
    if (!params.network.null()) (void)call.db().get(params.network);
    require_evacuation_possible(call.db(), params.host);
    co_return;
}

Task<void> HostDomain::assert_can_evacuate(Call& call, HostAssertCanEvacuate params) {
    require_evacuation_possible(call.db(), params.host);
    co_return;
}

Task<Map<Ref<Vm>, std::vector<std::string>>> HostDomain::get_vms_which_prevent_evacuation(
    Call& call, HostGetVmsWhichPreventEvacuation params) {
    (void)call.db().get(params.self);
    co_return why_guests_stay(call.db(), params.self);
}

Task<void> HostDomain::declare_dead(Call& call, HostDeclareDead params) {
    call.db().transact([&](db::Txn& txn) {
        require_dead(core_, txn, params.host);
        txn.each<Vm>([&](Ref<Vm> vm, const Vm& row) {
            if (is_guest_of(row, params.host)) land_halted(core_, txn, vm);
        });
        if (txn.find(txn.get(params.host).metrics) != nullptr)
            txn.edit(txn.get(params.host).metrics).live = false;
    });
    log::info("host_declared_dead", {{"host", params.host.text()}});
    co_return;
}

Task<void> HostDomain::destroy(Call& call, HostDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        require_dead(core_, txn, params.self);
        txn.each<Vm>([&](Ref<Vm>, const Vm& vm) {
            if (is_guest_of(vm, params.self)) throw err::host_has_resident_vms(params.self);
        });
        erase_host(txn, params.self);
    });
    log::info("host_destroyed", {{"host", params.self.text()}});
    co_return;
}

}  // namespace basalt::domain
