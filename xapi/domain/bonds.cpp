#include "xapi/domain/bonds.hpp"

#include <algorithm>
#include <set>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/bond.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/tunnel.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vlan.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;

using Properties = Map<std::string, std::string>;

bool is_decimal(const std::string& text) {
    return !text.empty() && text.size() <= 5 &&
           std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_one_of(const std::string& text, std::initializer_list<const char*> words) {
    return std::ranges::any_of(words, [&](const char* word) { return text == word; });
}

/// Source: the properties of class Bond; all of them are of the mode lacp.
void check_property(BondMode mode, const std::string& name, const std::string& value) {
    const bool known =
        (name == "hashing_algorithm" && is_one_of(value, {"src_mac", "tcpudp_ports"})) ||
        (name == "lacp-time" && is_one_of(value, {"fast", "slow"})) ||
        (name == "lacp-aggregation-key" && is_decimal(value)) ||
        (name == "lacp-fallback-ab" && is_one_of(value, {"true", "false"}));
    if (!known || mode != BondMode::lacp) throw err::invalid_value(name, value);
}

Properties complete(BondMode mode, Properties given) {
    for (const auto& [name, value] : given)
        check_property(mode, name, value);
    if (mode != BondMode::lacp) return given;
    given.emplace("hashing_algorithm", "tcpudp_ports");
    given.emplace("lacp-time", "slow");
    given.emplace("lacp-fallback-ab", "true");
    return given;
}

bool has_address(const Pif& pif) {
    return pif.ip_configuration_mode != IpConfigurationMode::none;
}

void require_member(const db::Txn& txn, Ref<Pif> ref) {
    const Pif& pif = txn.get(ref);
    if (pif.bond_slave_of) throw err::pif_already_bonded(ref);
    if (pif.VLAN != no_vlan) throw err::pif_vlan_exists(ref);
    if (!pif.tunnel_access_PIF_of.empty()) throw err::is_tunnel_access_pif(ref);
    if (!pif.tunnel_transport_PIF_of.empty()) throw err::pif_tunnel_still_exists(ref);
    if (!pif.managed) throw err::pif_unmanaged(ref);
    if (!pif.sriov_logical_PIF_of.empty()) throw err::pif_is_sriov_logical(ref);
    if (!pif.physical) throw err::pif_is_not_physical(ref);
}

void require_bond_possible(const db::Txn& txn, const BondCreate& params) {
    const std::set<Ref<Pif>> distinct(params.members.begin(), params.members.end());
    if (distinct.size() < 2 || distinct.size() != params.members.size())
        throw err::pif_bond_needs_more_members();
    const Ref<Host> host = txn.get(params.members.front()).host;
    int addresses = 0;
    for (const auto member : params.members) {
        require_member(txn, member);
        const Pif& pif = txn.get(member);
        if (pif.host != host) throw err::pif_cannot_bond_cross_host();
        if (pif.properties != txn.get(params.members.front()).properties)
            throw err::incompatible_pif_properties();
        addresses += has_address(pif) ? 1 : 0;
    }
    if (addresses > 1) throw err::pif_bond_more_than_one_ip();
    for (const auto pif : txn.get(params.network).PIFs)
        if (txn.get(pif).host == host) throw err::network_already_connected(params.network, pif);
    const Host& row = txn.get(host);
    if (row.software_version.get(std::string("network_backend")) != "openvswitch")
        throw err::openvswitch_not_active();
}

/// The one with the address leads: the bond is it to everybody outside.
Ref<Pif> primary_of(const db::Txn& txn, const std::vector<Ref<Pif>>& members) {
    const auto with = std::ranges::find_if(members, [&](Ref<Pif> pif) {
        return txn.get(pif).management || has_address(txn.get(pif));
    });
    return with == members.end() ? members.front() : *with;
}

std::string free_device(const db::Txn& txn, Ref<Host> host) {
    std::set<std::string> used;
    for (const auto pif : txn.get(host).PIFs)
        used.insert(txn.get(pif).device);
    for (int number = 0;; ++number)
        if (std::string name = "bond" + std::to_string(number); !used.contains(name)) return name;
}

/// What one interface is to the host and the world goes to another: address, management.
void move_address(db::Txn& txn, Ref<Pif> from, Ref<Pif> to) {
    const Pif before = txn.get(from);
    Pif& gains = txn.edit(to);
    copy_addresses(before, gains);
    gains.primary_address_type = before.primary_address_type;
    gains.management = before.management;
    gains.disallow_unplug = before.disallow_unplug;
    Pif& loses = txn.edit(from);
    copy_addresses(Pif{}, loses);
    loses.management = false;
    loses.disallow_unplug = false;
}

/// VLANs on `from` lie on `to` afterwards.
void move_vlans(db::Txn& txn, Ref<Pif> from, Ref<Pif> to) {
    const std::string device = txn.get(to).device;
    std::vector<Ref<Vlan>> moving;
    txn.each<Vlan>([&](Ref<Vlan> ref, const Vlan& vlan) {
        if (vlan.tagged_PIF == from) moving.push_back(ref);
    });
    for (const Ref<Vlan> vlan : moving) {
        txn.edit(vlan).tagged_PIF = to;
        txn.edit(txn.get(vlan).untagged_PIF).device = device;
    }
}

/// Two cards' VLANs of one tag would become one.
void require_distinct_tags(const db::Txn& txn, const std::vector<Ref<Pif>>& members) {
    std::set<std::int64_t> tags;
    txn.each<Vlan>([&](Ref<Vlan>, const Vlan& vlan) {
        if (std::ranges::contains(members, vlan.tagged_PIF) && !tags.insert(vlan.tag).second)
            throw err::pif_vlan_exists(vlan.tagged_PIF);
    });
}

/// Guests of a card's network would lose it with the card: they must be elsewhere first.
void require_no_guests(const db::Txn& txn, const std::vector<Ref<Pif>>& pifs) {
    for (const auto pif : pifs)
        for (const auto vif : txn.get(txn.get(pif).network).VIFs)
            if (txn.get(vif).currently_attached) throw err::vif_in_use(txn.get(pif).network, vif);
}

Ref<Bond> insert_bond(db::Txn& txn, const BondCreate& params) {
    const Ref<Pif> primary = primary_of(txn, params.members);
    const Pif leader = txn.get(primary);
    Pif pif;
    pif.device = free_device(txn, leader.host);
    pif.host = leader.host;
    pif.network = params.network;
    pif.MAC = params.MAC.empty() ? leader.MAC : params.MAC;
    pif.MTU = txn.get(params.network).MTU;
    pif.VLAN = no_vlan;
    pif.physical = false;
    pif.currently_attached = true;
    pif.properties = leader.properties;
    pif.metrics = txn.insert(PifMetrics{});
    const Ref<Pif> master = txn.insert(std::move(pif));
    Bond bond;
    bond.master = master;
    bond.primary_slave = primary;
    bond.mode = params.mode;
    bond.properties = complete(params.mode, params.properties);
    bond.auto_update_mac = params.MAC.empty();
    bond.links_up = std::ranges::count_if(params.members, [&](Ref<Pif> member) {
        const PifMetrics* metrics = txn.find(txn.get(member).metrics);
        return metrics != nullptr && metrics->carrier;
    });
    const Ref<Bond> made = txn.insert(std::move(bond));
    move_address(txn, primary, master);
    for (const auto member : params.members) {
        move_vlans(txn, member, master);
        txn.edit(member).bond_slave_of = made;
        txn.edit(member).currently_attached = false;
    }
    return made;
}

}  // namespace

void erase_bond(db::Txn& txn, Ref<Bond> ref) {
    const Bond bond = txn.get(ref);
    std::vector<Ref<Pif>> members;
    txn.each<Pif>([&](Ref<Pif> pif, const Pif& row) {
        if (row.bond_slave_of == ref) members.push_back(pif);
    });
    move_address(txn, bond.master, bond.primary_slave);
    move_vlans(txn, bond.master, bond.primary_slave);
    for (const auto member : members) {
        txn.edit(member).bond_slave_of = {};
        txn.edit(member).currently_attached = true;
    }
    const Ref<PifMetrics> metrics = txn.get(bond.master).metrics;
    txn.erase(ref);
    txn.erase(bond.master);
    if (txn.find(metrics) != nullptr) txn.erase(metrics);
}

Task<Ref<Bond>> BondDomain::create(Call& call, BondCreate params) {
    Ref<Bond> made;
    Networks& networks = networks_;
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        require_bond_possible(txn, params);
        require_distinct_tags(txn, params.members);
        require_no_guests(txn, params.members);
        return txn.get(params.members.front()).host;
    });
    co_await with_undo([&](Undo& undo) -> Task<void> {
        made = call.db().transact([&](db::Txn& txn) { return insert_bond(txn, params); });
        undo.push("erase bond", [&call, &networks, made, host]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) { erase_bond(txn, made); });
            co_await networks.apply(call, host);
        });
        co_await networks.apply(call, host);
    });
    co_return made;
}

Task<void> BondDomain::destroy(Call& call, BondDestroy params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Ref<Pif> master = txn.get(params.self).master;
        const Ref<Host> of = txn.get(master).host;
        require_no_guests(txn, {master});
        erase_bond(txn, params.self);
        return of;
    });
    co_await networks_.apply(call, host);
}

Task<void> BondDomain::change(Call& call, Ref<Bond> bond, std::function<void(Bond&)> edit) {
    const Bond before = call.db().get(bond);
    const Ref<Host> host = call.db().get(before.master).host;
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        call.db().transact([&](db::Txn& txn) { edit(txn.edit(bond)); });
        undo.push("restore bond", [&call, &before, bond]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) {
                txn.edit(bond).mode = before.mode;
                txn.edit(bond).properties = before.properties;
            });
            co_return;
        });
        co_await networks.apply(call, host);
    });
}

Task<void> BondDomain::set_mode(Call& call, BondSetMode params) {
    return change(call, params.self, [mode = params.value](Bond& bond) {
        if (bond.mode == mode) return;
        bond.mode = mode;
        bond.properties = complete(mode, {});
    });
}

Task<void> BondDomain::set_property(Call& call, BondSetProperty params) {
    check_property(call.db().get(params.self).mode, params.name, params.value);
    return change(call, params.self, [params](Bond& bond) {
        bond.properties.insert_or_assign(params.name, params.value);
    });
}

}  // namespace basalt::domain
