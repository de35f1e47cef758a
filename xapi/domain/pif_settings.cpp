// Class PIF: addresses of interfaces, and which interfaces there are.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <bit>

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
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

bool is_ipv4(const std::string& text) {
    in_addr address{};
    return ::inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool is_netmask(const std::string& text) {
    in_addr mask{};
    if (::inet_pton(AF_INET, text.c_str(), &mask) != 1) return false;
    const std::uint32_t bits = ntohl(mask.s_addr);
    return bits != 0 && std::countl_one(bits) == std::popcount(bits);
}

void check_addresses(const PifReconfigureIp& params) {
    if (params.mode != IpConfigurationMode::static_) return;
    if (!is_ipv4(params.IP)) throw err::invalid_ip_address_specified("IP");
    if (!is_netmask(params.netmask)) throw err::invalid_ip_address_specified("netmask");
    if (!params.gateway.empty() && !is_ipv4(params.gateway))
        throw err::invalid_ip_address_specified("gateway");
    for (std::size_t begin = 0; begin < params.DNS.size();) {
        const std::size_t end = std::min(params.DNS.find(',', begin), params.DNS.size());
        if (!is_ipv4(params.DNS.substr(begin, end - begin)))
            throw err::invalid_ip_address_specified("DNS");
        begin = end + 1;
    }
}

void set_addresses(Pif& row, const PifReconfigureIp& params) {
    const bool is_static = params.mode == IpConfigurationMode::static_;
    row.ip_configuration_mode = params.mode;
    row.IP = is_static ? params.IP : "";
    row.netmask = is_static ? params.netmask : "";
    row.gateway = is_static ? params.gateway : "";
    row.DNS = is_static ? params.DNS : "";
}

void restore_addresses(Pif& row, const Pif& before) {
    row.ip_configuration_mode = before.ip_configuration_mode;
    row.IP = before.IP;
    row.netmask = before.netmask;
    row.gateway = before.gateway;
    row.DNS = before.DNS;
}

// The management interface's address is how the pool reaches the host, and comes from the host's
// own configuration.
void require_may_change(const Pif& row, Ref<Pif> pif) {
    if (!row.managed) throw err::pif_unmanaged(pif);
    if (row.management) throw err::pif_is_management_interface(pif);
}

void require_may_leave(const db::Txn& txn, Ref<Pif> pif) {
    const Pif& row = txn.get(pif);
    if (row.management) throw err::pif_is_management_interface(pif);
    if (!row.VLAN_slave_of.empty()) throw err::pif_vlan_still_exists(pif);
    if (!row.tunnel_transport_PIF_of.empty()) throw err::pif_tunnel_still_exists(pif);
    if (row.bond_slave_of) throw err::pif_already_bonded(pif);
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

Task<void> PifDomain::reconfigure_ip(Call& call, PifReconfigureIp params) {
    check_addresses(params);
    const Pif before = call.db().get(params.self);
    require_may_change(before, params.self);
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        call.db().transact([&](db::Txn& txn) { set_addresses(txn.edit(params.self), params); });
        undo.push("restore addresses", [&call, &before, pif = params.self]() -> Task<void> {
            call.db().transact_fact(
                [&](db::Txn& txn) { restore_addresses(txn.edit(pif), before); });
            co_return;
        });
        if (before.currently_attached) co_await networks.apply(call, before.host);
    });
}

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
        if (row.device == params.device && row.VLAN == no_vlan) carrier = pif;
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

// The host is reached by this family, so the management interface must have an address of it.
Task<void> PifDomain::set_primary_address_type(Call& call, PifSetPrimaryAddressType params) {
    call.db().transact([&](db::Txn& txn) {
        Pif& row = txn.edit(params.self);
        const bool is_v4 = params.primary_address_type == PrimaryAddressType::ipv4;
        if (row.management && is_v4 && row.ip_configuration_mode == IpConfigurationMode::none)
            throw err::pif_has_no_network_configuration(params.self);
        if (row.management && !is_v4 && row.ipv6_configuration_mode == Ipv6ConfigurationMode::none)
            throw err::pif_has_no_v6_network_configuration(params.self);
        row.primary_address_type = params.primary_address_type;
    });
    co_return;
}

}  // namespace basalt::domain
