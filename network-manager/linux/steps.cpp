#include "network-manager/linux/steps.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "idl/errors.hpp"
#include "network-manager/linux/links.hpp"

namespace basalt::nm::steps {

void fail(const std::string& why) {
    throw err::internal_error("network: " + why);
}

agent::NetworkWant canonical(agent::NetworkWant want) {
    for (agent::BridgeWant& bridge : want.bridges) {
        if (!bridge.address.empty()) {
            const auto cidr = links::canonical_cidr(bridge.address);
            if (!cidr) fail("'" + bridge.address + "' is not an address with a prefix");
            bridge.address = *cidr;
        }
        if (!bridge.gateway.empty()) {
            const auto address = links::canonical_address(bridge.gateway);
            if (!address) fail("'" + bridge.gateway + "' is not an address");
            bridge.gateway = *address;
        }
        for (std::string& text : bridge.ipv6) {
            const auto cidr = links::canonical_cidr(text);
            if (!cidr) throw err::invalid_cidr_address_specified("IPv6");
            text = *cidr;
        }
        if (const auto address = links::canonical_address(bridge.gateway6))
            bridge.gateway6 = *address;
    }
    return want;
}

State read_links(std::map<std::string, Bridge> bridges) {
    State state{.bridges = std::move(bridges)};
    std::map<int, std::string> names;
    for (const links::Link& link : links::list())
        names.emplace(link.index, link.name);
    for (auto& [name, bridge] : state.bridges)
        bridge.autoconf = links::autoconf(name);
    for (const links::Address& address : links::addresses())
        if (const auto found = names.find(address.index);
            found != names.end() && found->second != "lo")
            state.links[found->second].addresses.insert(address.cidr);
    for (const links::Gateway& gateway : links::gateways())
        if (const auto found = names.find(gateway.index); found != names.end())
            state.links[found->second].gateways.insert(gateway.via);
    return state;
}

void pin_macs(State& state) {
    for (auto& [name, bridge] : state.bridges) {
        if (bridge.uplink.empty() || !bridge.mac.empty()) continue;
        const auto& members = bridge.bond.members;
        const std::string& card = members.empty() ? bridge.uplink : members.front();
        if (const auto link = links::find(card)) bridge.mac = link->mac;
    }
}

void enact_addresses(const std::vector<Action>& actions) {
    for (const Action& action : actions) {
        if (const auto* add = std::get_if<AddAddress>(&action))
            links::add_address(add->link, add->cidr);
        if (const auto* set = std::get_if<SetGateway>(&action))
            links::set_gateway(set->link, set->via);
        if (const auto* gone = std::get_if<DelGateway>(&action))
            links::remove_gateway(gone->link, gone->via);
        if (const auto* gone = std::get_if<DelAddress>(&action))
            links::remove_address(gone->link, gone->cidr);
        if (const auto* set = std::get_if<SetAutoconf>(&action))
            links::set_autoconf(set->bridge, set->on);
    }
}

void check_offloads(const agent::NetworkWant& want, bool whole_only) {
    for (const agent::BridgeWant& bridge : want.bridges)
        if (whole_only && bridge.gro.value_or(false))
            throw err::operation_not_allowed(
                "a switch that runs as a program takes packets only as they were sent");
}

void set_offloads(const agent::NetworkWant& want) {
    for (const agent::BridgeWant& bridge : want.bridges) {
        if (!bridge.gro || bridge.uplink.empty()) continue;
        const auto bond = std::ranges::find(want.bonds, bridge.uplink, &agent::BondWant::name);
        const std::vector<std::string> cards =
            bond == want.bonds.end() ? std::vector{bridge.uplink} : bond->members;
        for (const std::string& card : cards)
            links::set_gro(card, *bridge.gro);
    }
}

void write_resolv_conf(const std::string& path, const agent::NetworkWant& want) {
    std::string text;
    for (const agent::BridgeWant& bridge : want.bridges)
        for (const std::string& server : bridge.dns)
            text += "nameserver " + server + "\n";
    if (path.empty() || text.empty()) return;
    const std::string fresh = path + ".new";
    std::ofstream(fresh) << text;
    std::filesystem::rename(fresh, path);
}

void make_tap(const Tap& tap) {
    links::make_tap(tap.name, tap.owner);
    mark_port(tap);
}

void mark_port(const Tap& tap) {
    links::set_alias(tap.name, std::string(tap_alias) + tap.vif);
    if (tap.mtu > 0) links::set_mtu(tap.name, tap.mtu);
    links::set_up(tap.name, false);
}

std::vector<std::string> taps() {
    std::vector<std::string> names;
    for (const links::Link& link : links::list())
        if (link.kind == "tun" && link.alias.starts_with(tap_alias)) names.push_back(link.name);
    std::ranges::sort(names);
    return names;
}

}  // namespace basalt::nm::steps
