// Class PIF: addresses of interfaces, and how they treat packets.
#include <algorithm>
#include <functional>
#include <string_view>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pif.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

void check_servers(const AddressFamily& family, const std::string& dns) {
    for (std::size_t begin = 0; begin < dns.size();) {
        const std::size_t end = std::min(dns.find(',', begin), dns.size());
        if (!is_address(family, dns.substr(begin, end - begin)))
            throw err::invalid_ip_address_specified("DNS");
        begin = end + 1;
    }
}

void check_addresses(const PifReconfigureIp& params) {
    if (params.mode != IpConfigurationMode::static_) return;
    if (!is_address(ipv4, params.IP)) throw err::invalid_ip_address_specified("IP");
    if (!is_netmask(params.netmask)) throw err::invalid_ip_address_specified("netmask");
    if (!params.gateway.empty() && !is_address(ipv4, params.gateway))
        throw err::invalid_ip_address_specified("gateway");
    check_servers(ipv4, params.DNS);
}

void check_addresses(const PifReconfigureIpv6& params) {
    if (params.mode != Ipv6ConfigurationMode::static_) return;
    if (!is_cidr(ipv6, params.IPv6)) throw err::invalid_cidr_address_specified("IPv6");
    if (!params.gateway.empty() && !is_address(ipv6, params.gateway))
        throw err::invalid_ip_address_specified("gateway");
    check_servers(ipv6, params.DNS);
}

void set_addresses(Pif& row, const PifReconfigureIp& params) {
    const bool is_static = params.mode == IpConfigurationMode::static_;
    row.ip_configuration_mode = params.mode;
    row.IP = is_static ? params.IP : "";
    row.netmask = is_static ? params.netmask : "";
    row.gateway = is_static ? params.gateway : "";
    row.DNS = is_static ? params.DNS : "";
}

void set_addresses(Pif& row, const PifReconfigureIpv6& params) {
    const bool is_static = params.mode == Ipv6ConfigurationMode::static_;
    row.ipv6_configuration_mode = params.mode;
    row.IPv6.clear();
    if (is_static) row.IPv6.push_back(params.IPv6);
    row.ipv6_gateway = is_static ? params.gateway : "";
    // Name servers are the interface's, not a family's: those that IPv4 has stay beside none.
    if (is_static && !params.DNS.empty()) row.DNS = params.DNS;
}

// The host must stay reachable by the family that it is reached by.
void require_address_left(const Pif& row, Ref<Pif> pif, bool leaves_ipv4, bool leaves_ipv6) {
    if (!row.managed) throw err::pif_unmanaged(pif);
    const bool by_ipv4 = row.primary_address_type == PrimaryAddressType::ipv4;
    if (row.management && (by_ipv4 ? leaves_ipv4 : leaves_ipv6))
        throw err::pif_is_management_interface(pif);
}

}  // namespace

void copy_addresses(const Pif& from, Pif& to) {
    to.ip_configuration_mode = from.ip_configuration_mode;
    to.IP = from.IP;
    to.netmask = from.netmask;
    to.gateway = from.gateway;
    to.DNS = from.DNS;
    to.ipv6_configuration_mode = from.ipv6_configuration_mode;
    to.IPv6 = from.IPv6;
    to.ipv6_gateway = from.ipv6_gateway;
}

Task<void> PifDomain::change(Call& call, Ref<Pif> pif, std::function<void(Pif&)> edit) {
    const Pif before = call.db().get(pif);
    if (before.management) {
        Networks::Risk risk{.host = before.host, .pif = pif, .edit = [pif, edit](db::Txn& txn) {
                                edit(txn.edit(pif));
                            }};
        co_return co_await networks_.apply_reachable(call, std::move(risk));
    }
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        call.db().transact([&](db::Txn& txn) { edit(txn.edit(pif)); });
        undo.push("restore interface", [&call, &before, pif]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) {
                Pif& row = txn.edit(pif);
                copy_addresses(before, row);
                row.properties = before.properties;
            });
            co_return;
        });
        if (before.currently_attached) co_await networks.apply(call, before.host);
    });
}

Task<void> PifDomain::reconfigure_ip(Call& call, PifReconfigureIp params) {
    check_addresses(params);
    const bool leaves = params.mode == IpConfigurationMode::none;
    require_address_left(call.db().get(params.self), params.self, leaves, false);
    return change(call, params.self, [params](Pif& row) { set_addresses(row, params); });
}

Task<void> PifDomain::reconfigure_ipv6(Call& call, PifReconfigureIpv6 params) {
    check_addresses(params);
    const bool leaves = params.mode == Ipv6ConfigurationMode::none;
    require_address_left(call.db().get(params.self), params.self, false, leaves);
    return change(call, params.self, [params](Pif& row) { set_addresses(row, params); });
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

Task<void> PifDomain::set_property(Call& call, PifSetProperty params) {
    constexpr std::string_view gro = "gro";
    const Pif& row = call.db().get(params.self);
    // They are those of cards: what lies on them has what they have.
    if (row.VLAN != no_vlan || row.bond_slave_of || !row.tunnel_access_PIF_of.empty())
        throw err::cannot_change_pif_properties(params.self);
    if (!row.managed) throw err::pif_unmanaged(params.self);
    if (params.name != gro || (params.value != "on" && params.value != "off"))
        throw err::invalid_value(params.name, params.value);
    return change(call, params.self, [params](Pif& pif) {
        pif.properties.insert_or_assign(params.name, params.value);
    });
}

}  // namespace basalt::domain
