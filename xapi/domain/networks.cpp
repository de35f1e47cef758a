#include "xapi/domain/networks.hpp"

#include <algorithm>
#include <ranges>
#include <set>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/bond.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/network_sriov.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/pif_metrics.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sdn_controller.hpp"
#include "idl/records/tunnel.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vlan.hpp"
#include "idl/records/vm.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/pci.hpp"
#include "xapi/domain/sdn_controllers.hpp"
#include "xapi/domain/sriov.hpp"
#include "xapi/domain/tunnels.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::int64_t no_vlan = -1;
constexpr std::int64_t vlan_tag_max = 4094;

// PIF.DNS: addresses with commas between them.
std::vector<std::string> servers_of(const Pif& pif) {
    std::vector<std::string> out;
    for (const auto part : std::views::split(pif.DNS, ',')) {
        std::string server(part.begin(), part.end());
        std::erase(server, ' ');
        if (!server.empty()) out.push_back(std::move(server));
    }
    return out;
}

std::string bridge_name(const db::Txn& txn) {
    std::set<std::string> used;
    txn.each<Network>([&](Ref<Network>, const Network& network) { used.insert(network.bridge); });
    for (int number = 0;; ++number)
        if (std::string name = "xapi" + std::to_string(number); !used.contains(name)) return name;
}

// What one network of the pool serves encrypted, none is to serve in the clear.
void require_compatible(const db::Txn& txn, const std::vector<NetworkPurpose>& added) {
    std::set<NetworkPurpose> all(added.begin(), added.end());
    txn.each<Network>([&](Ref<Network>, const Network& network) {
        all.insert(network.purpose.begin(), network.purpose.end());
    });
    for (const NetworkPurpose purpose : added) {
        const NetworkPurpose other =
            purpose == NetworkPurpose::nbd ? NetworkPurpose::insecure_nbd : NetworkPurpose::nbd;
        if (all.contains(other))
            throw err::network_incompatible_purposes(wire_text(purpose), wire_text(other));
    }
}

agent::BridgeWant bridge_of(const db::Txn& txn, const Network& network, const Pif& pif,
                            bool tunnelled) {
    agent::BridgeWant bridge{.name = network.bridge, .mtu = pif.MTU};
    if (pif.VLAN == no_vlan) {
        if (!tunnelled) bridge.uplink = pif.device;
        bridge.mac = pif.MAC;
    } else {
        const Vlan* vlan = txn.find(pif.VLAN_master_of);
        const Pif* tagged = vlan != nullptr ? txn.find(vlan->tagged_PIF) : nullptr;
        const Network* parent = tagged != nullptr ? txn.find(tagged->network) : nullptr;
        if (parent != nullptr) bridge.vlan_parent = parent->bridge;
        bridge.vlan_tag = pif.VLAN;
    }
    if (const std::string gro = pif.properties.get(std::string("gro")); !gro.empty())
        bridge.gro = gro == "on";
    bridge.dhcp = pif.ip_configuration_mode == IpConfigurationMode::dhcp;
    // What a client of DHCPv6 gives the bridge stays there as what routers announce, and the routes
    // of both are the routers'.
    bridge.autoconf = pif.ipv6_configuration_mode == Ipv6ConfigurationMode::autoconf ||
                      pif.ipv6_configuration_mode == Ipv6ConfigurationMode::dhcp;
    if (pif.ipv6_configuration_mode == Ipv6ConfigurationMode::static_) {
        bridge.ipv6 = pif.IPv6;
        bridge.gateway6 = pif.ipv6_gateway;
        bridge.dns = servers_of(pif);
    }
    if (pif.ip_configuration_mode == IpConfigurationMode::static_) {
        bridge.address = cidr_of(pif.IP, pif.netmask);
        bridge.gateway = pif.gateway;
        bridge.dns = servers_of(pif);
    }
    return bridge;
}

// By the members' own rows: within a transaction the bond's set of them is as it was before.
agent::BondWant bond_want(const db::Txn& txn, Ref<Bond> ref) {
    const Bond& bond = txn.get(ref);
    agent::BondWant want;
    want.name = txn.get(bond.master).device;
    want.mode = wire_text(bond.mode);
    for (const auto& [key, value] : bond.properties)
        want.properties.emplace(key, value);
    txn.each<Pif>([&](Ref<Pif>, const Pif& pif) {
        if (pif.bond_slave_of == ref) want.members.push_back(pif.device);
    });
    return want;
}

// A network that lies within hosts may be given to an interface of one of them: where guests are on
// it, it stays.
bool has_guests(const db::Txn& txn, const Network& network, Ref<Host> host) {
    return std::ranges::any_of(network.VIFs, [&](Ref<Vif> ref) {
        const Vif& vif = txn.get(ref);
        const Vm* vm = txn.find(vif.VM);
        return vif.currently_attached && vm != nullptr && vm->resident_on == host;
    });
}

void require_unused(const db::Txn& txn, const Network& network) {
    if (!network.VIFs.empty()) throw err::network_contains_vif(network.VIFs.front());
    (void)txn;
}

}  // namespace

agent::NetworkWant network_want(const db::Txn& txn, Ref<Host> host) {
    agent::NetworkWant want;
    std::vector<agent::BridgeWant> tagged;
    // By the tunnels' own rows: within a transaction the interfaces' sets are as they were before.
    std::set<Ref<Pif>> tunnelled;
    txn.each<Tunnel>([&](Ref<Tunnel>, const Tunnel& row) { tunnelled.insert(row.access_PIF); });
    std::set<Ref<Pif>> functions;
    txn.each<NetworkSriov>(
        [&](Ref<NetworkSriov>, const NetworkSriov& row) { functions.insert(row.logical_PIF); });
    std::set<Ref<Network>> carried;  // by interfaces of this host
    txn.each<Pif>([&](Ref<Pif> ref, const Pif& pif) {
        const Network* network = txn.find(pif.network);
        if (pif.host != host || !pif.currently_attached || !pif.managed || network == nullptr)
            return;
        carried.insert(pif.network);
        if (functions.contains(ref)) return;  // the card is the switch
        (pif.VLAN == no_vlan ? want.bridges : tagged)
            .push_back(bridge_of(txn, *network, pif, tunnelled.contains(ref)));
    });
    txn.each<Network>([&](Ref<Network> ref, const Network& network) {
        if (carried.contains(ref) || !network.managed) return;
        if (!network.PIFs.empty() && !has_guests(txn, network, host)) return;
        agent::BridgeWant bridge{.name = network.bridge, .mtu = network.MTU};
        if (network.other_config.get(std::string("is_host_internal_management_network")) == "true")
            bridge.address = network.other_config.get(std::string("ip_begin")) + "/16";
        want.bridges.push_back(std::move(bridge));
    });
    std::ranges::move(tagged,
                      std::back_inserter(want.bridges));  // after the bridges that they stand on
    txn.each<Bond>([&](Ref<Bond> ref, const Bond& bond) {
        const Pif* master = txn.find(bond.master);
        if (master != nullptr && master->host == host) want.bonds.push_back(bond_want(txn, ref));
    });
    txn.each<Pool>(
        [&](Ref<Pool>, const Pool& pool) { want.igmp_snooping = pool.igmp_snooping_enabled; });
    txn.each<SdnController>([&](Ref<SdnController>, const SdnController& row) {
        want.managers.push_back(manager_target(row));
    });
    return want;
}

void require_openvswitch(const core::Core& core) {
    core.db.each<Host>([](Ref<Host>, const Host& host) {
        if (host.software_version.get(std::string("network_backend")) != "openvswitch")
            throw err::openvswitch_not_active();
    });
}

Task<Ref<Network>> NetworkDomain::create(Call& call, NetworkCreate params) {
    Ref<Network> made;
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        made = call.db().transact([&](db::Txn& txn) {
            Network row = std::move(params.args);
            if (row.bridge.empty()) row.bridge = bridge_name(txn);
            if (row.MTU <= 0) row.MTU = 1500;
            txn.each<Network>([&](Ref<Network>, const Network& other) {
                if (other.bridge == row.bridge) throw err::bridge_name_exists(row.bridge);
            });
            return txn.insert(std::move(row));
        });
        undo.push("erase network", [&call, ref = made]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) { txn.erase(ref); });
            co_return;
        });
        co_await networks.apply_everywhere(call);
    });
    co_return made;
}

Task<void> NetworkDomain::destroy(Call& call, NetworkDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        const Network& row = txn.get(params.self);
        if (!row.PIFs.empty()) throw err::network_contains_pif(row.PIFs.front());
        require_unused(txn, row);
        if (row.bridge == "xenapi") throw err::cannot_destroy_system_network(params.self);
        txn.erase(params.self);
    });
    co_await networks_.apply_everywhere(call);
}

Task<void> NetworkDomain::set_default_locking_mode(Call& call,
                                                   NetworkSetDefaultLockingMode params) {
    call.db().transact([&](db::Txn& txn) {
        for (const auto vif : txn.get(params.network).VIFs)
            if (txn.get(vif).currently_attached &&
                txn.get(vif).locking_mode == VifLockingMode::network_default)
                throw err::vif_in_use(params.network, vif);
        txn.edit(params.network).default_locking_mode = params.value;
    });
    co_return;
}

Task<void> NetworkDomain::add_purpose(Call& call, NetworkAddPurpose params) {
    call.db().transact([&](db::Txn& txn) {
        require_compatible(txn, {params.value});
        auto& purposes = txn.edit(params.self).purpose;
        if (std::ranges::find(purposes, params.value) == purposes.end())
            purposes.push_back(params.value);
    });
    co_return;
}

Task<void> NetworkDomain::remove_purpose(Call& call, NetworkRemovePurpose params) {
    call.db().transact(
        [&](db::Txn& txn) { std::erase(txn.edit(params.self).purpose, params.value); });
    co_return;
}

Task<Ref<Network>> NetworkDomain::pool_introduce(Call& call, NetworkPoolIntroduce params) {
    co_return call.db().transact([&](db::Txn& txn) {
        Network row;
        row.name_label = std::move(params.name_label);
        row.name_description = std::move(params.name_description);
        row.MTU = params.MTU;
        row.other_config = std::move(params.other_config);
        row.bridge = std::move(params.bridge);
        row.managed = params.managed;
        row.purpose = std::move(params.purpose);
        txn.each<Network>([&](Ref<Network>, const Network& other) {
            if (other.bridge == row.bridge) throw err::bridge_name_exists(row.bridge);
        });
        require_compatible(txn, row.purpose);
        return txn.insert(std::move(row));
    });
}

// Plugs the host's interface to the network; a network without interfaces is on every host.
Task<void> NetworkDomain::attach(Call& call, NetworkAttach params) {
    (void)call.db().get(params.host);
    const std::vector<Ref<Pif>> pifs = call.db().get(params.network).PIFs;
    const auto here = std::ranges::find_if(
        pifs, [&](Ref<Pif> pif) { return call.db().get(pif).host == params.host; });
    if (here == pifs.end() && !pifs.empty())
        throw err::host_cannot_attach_network(params.host, params.network);
    if (here != pifs.end() && !call.db().get(*here).currently_attached) {
        const Ref<NetworkSriov> sriov =
            call.db().transact([&](db::Txn& txn) { return sriov_of_logical(txn, *here); });
        if (sriov) co_return co_await divide(core_, call, sriov, true);
        call.db().transact([&](db::Txn& txn) { txn.edit(*here).currently_attached = true; });
    }
    co_await networks_.apply(call, params.host);
}

Task<void> NetworkDomain::attach_for_vm(Call& call, NetworkAttachForVm params) {
    std::set<Ref<Network>> wanted;
    for (const auto vif : call.db().get(params.vm).VIFs)
        wanted.insert(call.db().get(vif).network);
    for (const Ref<Network> network : wanted)
        co_await attach(call, {network, params.host});
}

// What is plugged stays: others may use it by now, and a bridge that nobody uses costs nothing.
Task<void> NetworkDomain::detach_for_vm(Call& call, NetworkDetachForVm params) {
    (void)call.db().get(params.vm);
    (void)call.db().get(params.host);
    co_return;
}

Task<Ref<Blob>> NetworkDomain::create_new_blob(Call& call, NetworkCreateNewBlob params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return attach_blob(txn, params.network, {params.name, params.mime_type, params.public_});
    });
}

Ref<Pif> insert_physical_pif(db::Txn& txn, Ref<Host> host, const agent::NicFacts& nic) {
    const std::string number =
        nic.name.substr(std::min(nic.name.size(), nic.name.find_first_of("0123456789")));
    const std::string bridge = "xenbr" + (number.empty() ? nic.name : number);
    Ref<Network> network;
    txn.each<Network>([&](Ref<Network> ref, const Network& row) {
        if (row.bridge == bridge) network = ref;
    });
    if (!network) {
        Network row;
        row.name_label = "Pool-wide network associated with " + nic.name;
        row.bridge = bridge;
        row.MTU = nic.mtu;
        network = txn.insert(std::move(row));
    }
    Pif pif;
    pif.device = nic.name;
    pif.host = host;
    pif.network = network;
    pif.MAC = nic.mac;
    pif.MTU = nic.mtu;
    pif.VLAN = no_vlan;
    pif.physical = true;
    pif.currently_attached = true;
    pif.metrics = txn.insert(PifMetrics{});
    return txn.insert(std::move(pif));
}

void count_bond_links(db::Txn& txn, Ref<Host> host) {
    std::map<Ref<Bond>, std::int64_t> up;
    txn.each<Pif>([&](Ref<Pif>, const Pif& pif) {
        if (pif.host != host || !pif.bond_slave_of) return;
        const PifMetrics* metrics = txn.find(pif.metrics);
        up[pif.bond_slave_of] += metrics != nullptr && metrics->carrier ? 1 : 0;
    });
    for (const auto& [bond, links] : up)
        if (txn.get(bond).links_up != links) txn.edit(bond).links_up = links;
}

void land_nic(core::Core& core, db::Txn& txn, Ref<Pif> pif, const agent::NicFacts& nic) {
    if (txn.find(txn.get(pif).metrics) == nullptr) txn.edit(pif).metrics = txn.insert(PifMetrics{});
    PifMetrics& metrics = txn.edit(txn.get(pif).metrics);
    metrics.carrier = nic.carrier;
    metrics.speed = nic.speed_mbps;
    metrics.duplex = nic.duplex_full;
    metrics.pci_bus_path = nic.pci;
    metrics.device_name = nic.driver;
    metrics.last_updated = DateTime{core.now_seconds()};
}

Task<void> PifDomain::scan(Call& call, PifScan params) {
    if (call.db().find(params.host) == nullptr) throw err::handle_invalid("host", params.host);
    agent::Host& agent = core_.hosts->agent(params.host);
    const agent::HostFacts facts = co_await agent.host_facts({});
    const std::vector<agent::PciFacts> devices = co_await agent.pci_devices({});
    call.db().transact([&](db::Txn& txn) {
        std::map<std::string, Ref<Pif>> known;
        for (const auto pif : txn.get(params.host).PIFs)
            if (txn.get(pif).physical) known.emplace(txn.get(pif).device, pif);
        for (const agent::NicFacts& nic : facts.nics) {
            const auto found = known.find(nic.name);
            const bool fresh = found == known.end();
            const Ref<Pif> pif = fresh ? insert_physical_pif(txn, params.host, nic) : found->second;
            if (fresh) txn.edit(pif).currently_attached = false;
            land_nic(core_, txn, pif, nic);
        }
        land_pci_devices(txn, params.host, devices);
    });
}

Task<void> PifDomain::plug(Call& call, PifPlug params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Pif& row = txn.get(params.self);
        if (!row.managed) throw err::pif_unmanaged(params.self);
        if (row.bond_slave_of) throw err::cannot_plug_bond_slave(params.self);
        require_transport(txn, params.self);
        return row.host;
    });
    if (call.db().get(params.self).currently_attached) co_return;
    if (const Ref<NetworkSriov> sriov =
            call.db().transact([&](db::Txn& txn) { return sriov_of_logical(txn, params.self); }))
        co_return co_await divide(core_, call, sriov, true);
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        call.db().transact([&](db::Txn& txn) { txn.edit(params.self).currently_attached = true; });
        undo.push("unplug", [&call, pif = params.self]() -> Task<void> {
            call.db().transact_fact(
                [&](db::Txn& txn) { txn.edit(pif).currently_attached = false; });
            co_return;
        });
        co_await networks.apply(call, host);
    });
}

Task<void> PifDomain::unplug(Call& call, PifUnplug params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Pif& row = txn.get(params.self);
        if (!row.managed) throw err::pif_unmanaged(params.self);
        if (row.management) throw err::pif_is_management_interface(params.self);
        if (row.disallow_unplug) throw err::pif_does_not_allow_unplug(params.self);
        return row.host;
    });
    if (!call.db().get(params.self).currently_attached) co_return;
    if (const Ref<NetworkSriov> sriov =
            call.db().transact([&](db::Txn& txn) { return sriov_of_logical(txn, params.self); }))
        co_return co_await divide(core_, call, sriov, false);
    Networks& networks = networks_;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        call.db().transact([&](db::Txn& txn) { txn.edit(params.self).currently_attached = false; });
        undo.push("plug", [&call, pif = params.self]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) { txn.edit(pif).currently_attached = true; });
            co_return;
        });
        co_await networks.apply(call, host);
    });
}

Task<void> PifDomain::set_disallow_unplug(Call& call, PifSetDisallowUnplug params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).disallow_unplug = params.value; });
    co_return;
}

namespace {

void require_vlan_possible(const db::Txn& txn, const VlanCreate& params) {
    const Pif& tagged = txn.get(params.tagged_PIF);
    const Network& network = txn.get(params.network);
    if (params.tag < 0 || params.tag > vlan_tag_max) throw err::vlan_tag_invalid(params.tag);
    if (tagged.VLAN != no_vlan) throw err::pif_is_vlan(params.tagged_PIF);
    if (sriov_of_logical(txn, params.tagged_PIF))
        throw err::pif_is_sriov_logical(params.tagged_PIF);
    if (tagged.bond_slave_of) throw err::cannot_add_vlan_to_bond_slave(params.tagged_PIF);
    for (const auto vlan : tagged.VLAN_slave_of)
        if (txn.get(vlan).tag == params.tag) throw err::pif_vlan_exists(tagged.device);
    for (const auto pif : network.PIFs)
        if (txn.get(pif).host == tagged.host)
            throw err::network_already_connected(params.network, pif);
}

VlanRows insert_vlan(db::Txn& txn, const VlanCreate& params) {
    const Pif tagged = txn.get(params.tagged_PIF);
    Pif pif;
    pif.device = tagged.device;
    pif.host = tagged.host;
    pif.network = params.network;
    pif.MAC = tagged.MAC;
    pif.MTU = txn.get(params.network).MTU;
    pif.VLAN = params.tag;
    pif.physical = false;
    pif.currently_attached = true;
    pif.metrics = tagged.metrics;
    VlanRows rows;
    rows.pif = txn.insert(std::move(pif));
    Vlan vlan;
    vlan.tag = params.tag;
    vlan.tagged_PIF = params.tagged_PIF;
    vlan.untagged_PIF = rows.pif;
    rows.vlan = txn.insert(std::move(vlan));
    txn.edit(rows.pif).VLAN_master_of = rows.vlan;
    return rows;
}

}  // namespace

void erase_vlan(db::Txn& txn, const VlanRows& rows) {
    txn.erase(rows.vlan);
    txn.erase(rows.pif);
}

Task<Ref<Vlan>> VlanDomain::create(Call& call, VlanCreate params) {
    VlanRows rows;
    Networks& networks = networks_;
    const Ref<Host> host = call.db().get(params.tagged_PIF).host;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        rows = call.db().transact([&](db::Txn& txn) {
            require_vlan_possible(txn, params);
            return insert_vlan(txn, params);
        });
        undo.push("erase VLAN", [&call, &networks, rows, host]() -> Task<void> {
            call.db().transact_fact([&](db::Txn& txn) { erase_vlan(txn, rows); });
            // What the host may have of it goes with the next apply: now, or when it appears.
            co_await networks.apply(call, host);
        });
        co_await networks.apply(call, host);
    });
    co_return rows.vlan;
}

Task<void> VlanDomain::destroy(Call& call, VlanDestroy params) {
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Vlan& vlan = txn.get(params.self);
        const Pif& pif = txn.get(vlan.untagged_PIF);
        if (pif.management) throw err::pif_is_management_interface(vlan.untagged_PIF);
        for (const auto vif : txn.get(pif.network).VIFs)
            if (txn.get(vif).currently_attached) throw err::vif_in_use(pif.network, vif);
        const Ref<Host> of = pif.host;
        erase_vlan(txn, {params.self, vlan.untagged_PIF});
        return of;
    });
    co_await networks_.apply(call, host);
}

// The record alone, for a pool that a host joins: its interfaces are introduced on their own.
Task<Ref<Vlan>> VlanDomain::pool_introduce(Call& call, VlanPoolIntroduce params) {
    if (params.tag < 0 || params.tag > vlan_tag_max) throw err::vlan_tag_invalid(params.tag);
    co_return call.db().transact([&](db::Txn& txn) {
        const Pif& tagged = txn.get(params.tagged_PIF);
        (void)txn.get(params.untagged_PIF);
        for (const auto vlan : tagged.VLAN_slave_of)
            if (txn.get(vlan).tag == params.tag) throw err::pif_vlan_exists(tagged.device);
        Vlan row;
        row.tag = params.tag;
        row.tagged_PIF = params.tagged_PIF;
        row.untagged_PIF = params.untagged_PIF;
        row.other_config = std::move(params.other_config);
        const Ref<Vlan> vlan = txn.insert(std::move(row));
        txn.edit(params.untagged_PIF).VLAN_master_of = vlan;
        return vlan;
    });
}

}  // namespace basalt::domain
