// Class PIF: which interfaces there are.
#include <algorithm>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/bond.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "idl/records/vlan.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/sriov.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

void require_may_leave(const db::Txn& txn, Ref<Pif> pif) {
    const Pif& row = txn.get(pif);
    if (row.management) throw err::pif_is_management_interface(pif);
    if (!row.VLAN_slave_of.empty()) throw err::pif_vlan_still_exists(pif);
    if (!row.tunnel_transport_PIF_of.empty()) throw err::pif_tunnel_still_exists(pif);
    if (row.bond_slave_of) throw err::pif_already_bonded(pif);
    if (sriov_of_physical(txn, pif)) throw err::pif_sriov_still_exists(pif);
}

void erase_pif(db::Txn& txn, Ref<Pif> pif) {
    const Ref<PifMetrics> metrics = txn.get(pif).metrics;
    txn.erase(pif);
    if (txn.find(metrics) != nullptr) txn.erase(metrics);
}

// Six pairs of digits; a group's address cannot be a card's.
bool is_mac(const std::string& mac) {
    if (mac.size() != 17) return false;
    for (std::size_t i = 0; i < mac.size(); ++i)
        if (i % 3 == 2 ? mac[i] != ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) == 0)
            return false;
    return (std::stoi(mac.substr(0, 2), nullptr, 16) & 1) == 0;
}

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

template <class Params>
Pif row_of(Params params) {
    Pif row;
    row.device = std::move(params.device);
    row.network = params.network;
    row.host = params.host;
    row.MAC = std::move(params.MAC);
    row.MTU = params.MTU;
    row.VLAN = params.VLAN;
    row.physical = params.physical;
    row.ip_configuration_mode = params.ip_configuration_mode;
    row.IP = std::move(params.IP);
    row.netmask = std::move(params.netmask);
    row.gateway = std::move(params.gateway);
    row.DNS = std::move(params.DNS);
    row.bond_slave_of = params.bond_slave_of;
    row.VLAN_master_of = params.VLAN_master_of;
    row.management = params.management;
    row.other_config = std::move(params.other_config);
    row.disallow_unplug = params.disallow_unplug;
    row.ipv6_configuration_mode = params.ipv6_configuration_mode;
    row.IPv6 = std::move(params.IPv6);
    row.ipv6_gateway = std::move(params.ipv6_gateway);
    row.primary_address_type = params.primary_address_type;
    row.managed = params.managed;
    row.properties = std::move(params.properties);
    return row;
}

template <class Params>
Ref<Pif> insert_row(db::Txn& txn, Params params) {
    Pif row = row_of(std::move(params));
    (void)txn.get(row.host);
    (void)txn.get(row.network);
    row.metrics = txn.insert(PifMetrics{});
    return txn.insert(std::move(row));
}

}  // namespace

Task<Ref<Pif>> PifDomain::introduce(Call& call, PifIntroduce params) {
    (void)call.db().get(params.host);
    if (!params.MAC.empty() && !is_mac(params.MAC)) throw err::mac_invalid(params.MAC);
    const agent::HostFacts facts = co_await core_.hosts->agent(params.host).host_facts({});
    const auto nic = std::ranges::find_if(facts.nics, [&](const agent::NicFacts& one) {
        return one.name == params.device &&
               (params.MAC.empty() || lower(one.mac) == lower(params.MAC));
    });
    if (nic == facts.nics.end())
        throw err::could_not_find_network_interface_with_specified_device_name_and_mac_address(
            params.device, params.MAC);
    co_return call.db().transact([&](db::Txn& txn) {
        for (const auto other : txn.get(params.host).PIFs)
            if (txn.get(other).device == params.device && txn.get(other).physical)
                throw err::duplicate_pif_device_name(params.device);
        const Ref<Pif> pif = insert_physical_pif(txn, params.host, *nic);
        txn.edit(pif).currently_attached = false;
        txn.edit(pif).managed = params.managed;
        land_nic(core_, txn, pif, *nic);
        return pif;
    });
}

Task<void> PifDomain::forget(Call& call, PifForget params) {
    const Ref<Host> host = call.db().get(params.self).host;
    call.db().transact([&](db::Txn& txn) {
        if (sriov_of_logical(txn, params.self)) throw err::cannot_forget_sriov_logical(params.self);
        if (!txn.get(params.self).physical) throw err::pif_is_not_physical(params.self);
        require_may_leave(txn, params.self);
        erase_pif(txn, params.self);
    });
    if (core_.hosts->connected(host)) co_await networks_.apply(call, host);
}

Task<Ref<Pif>> PifDomain::create_VLAN(Call& call, PifCreateVlan params) {
    Ref<Pif> carrier;
    for (const auto pif : call.db().get(params.host).PIFs) {
        const Pif& row = call.db().get(pif);
        if (row.device == params.device && row.VLAN == no_vlan && row.sriov_logical_PIF_of.empty())
            carrier = pif;
    }
    if (!carrier) throw err::invalid_value("device", params.device);
    const Ref<Vlan> vlan = co_await vlans_.create(
        call, {.tagged_PIF = carrier, .tag = params.VLAN, .network = params.network});
    co_return call.db().get(vlan).untagged_PIF;
}

Task<void> PifDomain::destroy(Call& call, PifDestroy params) {
    const Pif& row = call.db().get(params.self);
    if (row.physical || row.VLAN == no_vlan) throw err::pif_is_physical(params.self);
    co_await vlans_.destroy(call, {row.VLAN_master_of});
}

Task<Ref<Pif>> PifDomain::db_introduce(Call& call, PifDbIntroduce params) {
    co_return call.db().transact([&](db::Txn& txn) { return insert_row(txn, std::move(params)); });
}

Task<Ref<Pif>> PifDomain::pool_introduce(Call& call, PifPoolIntroduce params) {
    co_return call.db().transact([&](db::Txn& txn) { return insert_row(txn, std::move(params)); });
}

// The record alone: what the host has of it stays until networks are next applied there.
Task<void> PifDomain::db_forget(Call& call, PifDbForget params) {
    call.db().transact([&](db::Txn& txn) { erase_pif(txn, params.self); });
    co_return;
}

}  // namespace basalt::domain
