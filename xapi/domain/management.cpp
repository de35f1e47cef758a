// Class host: by which interface it is managed, and what it has of the pool's networks.
#include <algorithm>

#include "idl/errors.hpp"
#include "idl/records/bond.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/tunnel.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vlan.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/bonds.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

void require_no_ha(const db::Database& db) {
    db.each<Pool>([](Ref<Pool>, const Pool& pool) {
        if (pool.ha_enabled) throw err::ha_is_enabled();
    });
}

// Members call their coordinator by its address and hear of no other one.
void require_nobody_calls(const core::Core& core, Ref<Host> host) {
    if (host == core.this_host && core.db.count(class_of<Host>()) > 1)
        throw err::operation_not_allowed("The other hosts call the coordinator by its address");
}

void require_manageable(const db::Database& db, Ref<Pif> pif) {
    const Pif& row = db.get(pif);
    if (!row.managed) throw err::pif_unmanaged(pif);
    if (row.bond_slave_of) throw err::cannot_plug_bond_slave(pif);
    if (!row.tunnel_access_PIF_of.empty()) throw err::is_tunnel_access_pif(pif);
    if (row.primary_address_type == PrimaryAddressType::ipv4) {
        if (row.ip_configuration_mode == IpConfigurationMode::none)
            throw err::pif_has_no_network_configuration(pif);
    } else if (row.ipv6_configuration_mode == Ipv6ConfigurationMode::none) {
        throw err::pif_has_no_v6_network_configuration(pif);
    }
}

void move_management(db::Txn& txn, Ref<Pif> to) {
    if (const Ref<Pif> from = management_pif(txn, txn.get(to).host); from)
        txn.edit(from).management = false;
    txn.edit(to).management = true;
    txn.edit(to).currently_attached = true;
}

/// The host's interface of that name, or that of the bridge of that name.
Ref<Pif> interface_of(const db::Database& db, Ref<Host> host, const std::string& name) {
    Ref<Pif> found;
    for (const auto pif : db.get(host).PIFs) {
        const Pif& row = db.get(pif);
        const Network* network = db.find(row.network);
        const bool named = row.device == name && row.VLAN == no_vlan;
        if (named || (network != nullptr && network->bridge == name)) found = pif;
    }
    if (!found) throw err::invalid_value("interface", name);
    return found;
}

/// The interfaces of the host that are not cards, those that stand on others first.
struct Built {
    std::vector<TunnelRows> tunnels;
    std::vector<VlanRows> vlans;
    std::vector<Ref<Bond>> bonds;
};

Built built_on(const db::Txn& txn, Ref<Host> host) {
    Built out;
    txn.each<Tunnel>([&](Ref<Tunnel> tunnel, const Tunnel& row) {
        if (txn.get(row.access_PIF).host == host) out.tunnels.push_back({tunnel, row.access_PIF});
    });
    txn.each<Vlan>([&](Ref<Vlan> vlan, const Vlan& row) {
        if (txn.get(row.untagged_PIF).host == host) out.vlans.push_back({vlan, row.untagged_PIF});
    });
    txn.each<Bond>([&](Ref<Bond> bond, const Bond& row) {
        if (txn.get(row.master).host == host) out.bonds.push_back(bond);
    });
    return out;
}

// Guests of what goes would lose their network.
void require_unused(const db::Txn& txn, const Built& built) {
    const auto require = [&txn](Ref<Pif> pif) {
        const Ref<Network> network = txn.get(pif).network;
        for (const auto vif : txn.get(network).VIFs)
            if (txn.get(vif).currently_attached) throw err::vif_in_use(network, vif);
    };
    for (const TunnelRows& tunnel : built.tunnels)
        require(tunnel.access);
    for (const VlanRows& vlan : built.vlans) {
        require(vlan.pif);
        if (txn.get(vlan.pif).management) throw err::pif_is_management_interface(vlan.pif);
    }
    for (const Ref<Bond> bond : built.bonds)
        require(txn.get(bond).master);
}

/// Only cards are left, and only the one by which the host is managed has an address.
void reset(db::Txn& txn, Ref<Host> host) {
    const Built built = built_on(txn, host);
    for (const TunnelRows& tunnel : built.tunnels)
        erase_tunnel(txn, tunnel);
    for (const VlanRows& vlan : built.vlans)
        erase_vlan(txn, vlan);
    for (const Ref<Bond> bond : built.bonds)
        erase_bond(txn, bond);
    std::vector<Ref<Pif>> cards;
    txn.each<Pif>([&](Ref<Pif> pif, const Pif& row) {
        if (row.host == host && !row.management) cards.push_back(pif);
    });
    for (const Ref<Pif> card : cards) {
        Pif& row = txn.edit(card);
        copy_addresses(Pif{}, row);
        row.properties = {};
    }
}

/// The card by which the host is managed once only cards are left.
Ref<Pif> card_below(const db::Txn& txn, Ref<Pif> managed) {
    Ref<Pif> card = managed;
    txn.each<Bond>([&](Ref<Bond>, const Bond& bond) {
        if (bond.master == managed) card = bond.primary_slave;
    });
    return card;
}

/// The host's interface on a network; null: it has none there.
Ref<Pif> pif_on(const db::Database& db, Ref<Host> host, Ref<Network> network) {
    for (const auto pif : db.get(network).PIFs)
        if (db.get(pif).host == host) return pif;
    return {};
}

}  // namespace

Task<void> HostDomain::management_reconfigure(Call& call, HostManagementReconfigure params) {
    const Pif& row = call.db().get(params.pif);
    const Ref<Host> host = row.host;
    require_no_ha(call.db());
    require_manageable(call.db(), params.pif);
    if (row.management) co_return;
    require_nobody_calls(core_, host);
    Networks::Risk risk{.host = host, .pif = params.pif, .edit = [pif = params.pif](db::Txn& txn) {
                            move_management(txn, pif);
                        }};
    co_await beside_.networks.apply_reachable(call, std::move(risk));
}

Task<void> HostDomain::local_management_reconfigure(Call& call,
                                                    HostLocalManagementReconfigure params) {
    return management_reconfigure(call,
                                  {interface_of(call.db(), core_.this_host, params.interface)});
}

// The bridge keeps its address: guests and storage may be reached through it. Who opens
// connections looks at the host's own (xapi/coordinator_daemon.cpp).
Task<void> HostDomain::management_disable(Call& call) {
    require_no_ha(call.db());
    require_nobody_calls(core_, core_.this_host);
    call.db().transact([&](db::Txn& txn) {
        if (const Ref<Pif> pif = management_pif(txn, core_.this_host); pif)
            txn.edit(pif).management = false;
        land_host_address(txn, core_.this_host, "");
    });
    co_return;
}

Task<void> HostDomain::reset_networking(Call& call, HostResetNetworking params) {
    (void)call.db().get(params.host);
    require_no_ha(call.db());
    const Ref<Pif> card = call.db().transact([&](db::Txn& txn) {
        require_unused(txn, built_on(txn, params.host));
        const Ref<Pif> managed = management_pif(txn, params.host);
        if (!managed) throw err::host_has_no_management_ip();
        return card_below(txn, managed);
    });
    Networks::Risk risk{.host = params.host,
                        .pif = card,
                        .edit = [host = params.host](db::Txn& txn) { reset(txn, host); }};
    co_await beside_.networks.apply_reachable(call, std::move(risk));
}

// VLANs of the coordinator, where the host has the card but not the VLAN.
Task<void> HostDomain::sync_vlans(Call& call, HostSyncVlans params) {
    (void)call.db().get(params.host);
    std::vector<VlanCreate> missing;
    call.db().each<Vlan>([&](Ref<Vlan>, const Vlan& vlan) {
        const Pif& carrier = call.db().get(vlan.tagged_PIF);
        const Ref<Network> network = call.db().get(vlan.untagged_PIF).network;
        if (carrier.host != core_.this_host || pif_on(call.db(), params.host, network)) return;
        for (const auto pif : call.db().get(params.host).PIFs) {
            const Pif& row = call.db().get(pif);
            if (row.device == carrier.device && row.VLAN == no_vlan)
                missing.push_back({.tagged_PIF = pif, .tag = vlan.tag, .network = network});
        }
    });
    for (const VlanCreate& vlan : missing)
        co_await beside_.vlans.create(call, vlan);
}

Task<void> HostDomain::sync_tunnels(Call& call, HostSyncTunnels params) {
    (void)call.db().get(params.host);
    std::vector<TunnelCreate> missing;
    call.db().each<Tunnel>([&](Ref<Tunnel>, const Tunnel& tunnel) {
        const Pif& transport = call.db().get(tunnel.transport_PIF);
        const Ref<Network> network = call.db().get(tunnel.access_PIF).network;
        if (transport.host != core_.this_host || pif_on(call.db(), params.host, network)) return;
        const Ref<Pif> outer = pif_on(call.db(), params.host, transport.network);
        if (outer)
            missing.push_back(
                {.transport_PIF = outer, .network = network, .protocol = tunnel.protocol});
    });
    for (const TunnelCreate& tunnel : missing)
        co_await beside_.tunnels.create(call, tunnel);
}

Task<void> HostDomain::sync_pif_currently_attached(Call& call,
                                                   HostSyncPifCurrentlyAttached params) {
    call.db().transact([&](db::Txn& txn) {
        for (const auto pif : std::vector(txn.get(params.host).PIFs)) {
            const Network* network = txn.find(txn.get(pif).network);
            const bool there =
                network != nullptr && std::ranges::contains(params.bridges, network->bridge);
            const bool attached = there && !txn.get(pif).bond_slave_of;
            if (txn.get(pif).currently_attached != attached)
                txn.edit(pif).currently_attached = attached;
        }
    });
    co_return;
}

// Members first: the coordinator must still be where they call it.
Task<void> PoolDomain::management_reconfigure(Call& call, PoolManagementReconfigure params) {
    (void)call.db().get(params.network);
    require_no_ha(call.db());
    std::vector<Ref<Pif>> chosen;
    for (const Ref<Host> host : all_hosts()) {
        const Ref<Pif> pif = pif_on(call.db(), host, params.network);
        if (!pif) throw err::pif_not_present(host, params.network);
        require_manageable(call.db(), pif);
        if (!call.db().get(pif).management) require_nobody_calls(core_, host);
        chosen.push_back(pif);
    }
    std::ranges::stable_partition(
        chosen, [&](Ref<Pif> pif) { return call.db().get(pif).host != core_.this_host; });
    for (const Ref<Pif> pif : chosen)
        co_await hosts_.management_reconfigure(call, {pif});
}

}  // namespace basalt::domain
