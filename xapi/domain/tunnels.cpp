#include "xapi/domain/tunnels.hpp"

#include <set>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "idl/records/tunnel.hpp"
#include "idl/records/vif.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

bool has_address(const Pif& pif) {
    return pif.ip_configuration_mode != IpConfigurationMode::none ||
           pif.ipv6_configuration_mode != Ipv6ConfigurationMode::none;
}

void require_tunnel_possible(const db::Txn& txn, const TunnelCreate& params) {
    const Pif& transport = txn.get(params.transport_PIF);
    const Network& network = txn.get(params.network);
    txn.each<Host>([&](Ref<Host>, const Host& host) {
        if (host.software_version.get(std::string("network_backend")) != "openvswitch")
            throw err::openvswitch_not_active();
    });
    if (!transport.managed) throw err::pif_unmanaged(params.transport_PIF);
    if (transport.bond_slave_of) throw err::cannot_add_tunnel_to_bond_slave(params.transport_PIF);
    if (!transport.tunnel_access_PIF_of.empty())
        throw err::is_tunnel_access_pif(params.transport_PIF);
    if (!transport.sriov_logical_PIF_of.empty())
        throw err::cannot_add_tunnel_to_sriov_logical(params.transport_PIF);
    if (!has_address(transport)) throw err::transport_pif_not_configured(params.transport_PIF);
    for (const auto pif : network.PIFs)
        if (txn.get(pif).host == transport.host)
            throw err::network_already_connected(params.network, pif);
}

std::string free_device(const db::Txn& txn, Ref<Host> host) {
    std::set<std::string> used;
    txn.each<Pif>([&](Ref<Pif>, const Pif& pif) {
        if (pif.host == host) used.insert(pif.device);
    });
    for (int number = 0;; ++number)
        if (std::string name = "tunnel" + std::to_string(number); !used.contains(name)) return name;
}

/// Nobody's: locally administered, of one station.
std::string random_mac(core::Core& core) {
    std::string mac = "02";
    for (const char c : core.new_uuid()) {
        if (mac.size() == 17) break;
        if (c == '-') continue;
        if (mac.size() % 3 == 2) mac += ':';
        mac += c;
    }
    return mac;
}

TunnelRows insert_tunnel(core::Core& core, db::Txn& txn, const TunnelCreate& params) {
    Pif pif;
    pif.host = txn.get(params.transport_PIF).host;
    pif.device = free_device(txn, pif.host);
    pif.network = params.network;
    pif.MAC = random_mac(core);
    pif.MTU = txn.get(params.network).MTU;
    pif.VLAN = no_vlan;
    pif.physical = false;
    pif.currently_attached = true;
    pif.metrics = txn.insert(PifMetrics{});
    TunnelRows rows;
    rows.access = txn.insert(std::move(pif));
    Tunnel tunnel;
    tunnel.access_PIF = rows.access;
    tunnel.transport_PIF = params.transport_PIF;
    tunnel.protocol = params.protocol;
    tunnel.status = {{"active", "false"}};
    rows.tunnel = txn.insert(std::move(tunnel));
    return rows;
}

}  // namespace

void erase_tunnel(db::Txn& txn, const TunnelRows& rows) {
    const Ref<PifMetrics> metrics = txn.get(rows.access).metrics;
    txn.erase(rows.tunnel);
    txn.erase(rows.access);
    if (txn.find(metrics) != nullptr) txn.erase(metrics);
}

void require_transport(const db::Txn& txn, Ref<Pif> access) {
    for (const auto tunnel : txn.get(access).tunnel_access_PIF_of) {
        const Ref<Pif> transport = txn.get(tunnel).transport_PIF;
        const Pif* row = txn.find(transport);
        if (row == nullptr || !has_address(*row))
            throw err::transport_pif_not_configured(transport);
    }
}

Task<Ref<Tunnel>> TunnelDomain::create(Call& call, TunnelCreate params) {
    TunnelRows rows;
    core::Core& core = core_;
    Networks& networks = networks_;
    const Ref<Host> host = call.db().get(params.transport_PIF).host;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        rows = call.db().transact([&](db::Txn& txn) {
            require_tunnel_possible(txn, params);
            return insert_tunnel(core, txn, params);
        });
        undo.push("erase tunnel", [&call, &networks, rows, host]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) { erase_tunnel(txn, rows); });
            // What the host may have of it goes with the next apply: now, or when it appears.
            co_await networks.apply(call, host);
        });
        co_await networks.apply(call, host);
    });
    co_return rows.tunnel;
}

Task<void> TunnelDomain::destroy(Call& call, TunnelDestroy params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Ref<Pif> access = txn.get(params.self).access_PIF;
        const Pif& pif = txn.get(access);
        if (pif.management) throw err::pif_is_management_interface(access);
        for (const auto vif : txn.get(pif.network).VIFs)
            if (txn.get(vif).currently_attached) throw err::vif_in_use(pif.network, vif);
        const Ref<Host> of = pif.host;
        erase_tunnel(txn, {params.self, access});
        return of;
    });
    co_await networks_.apply(call, host);
}

}  // namespace basalt::domain
