#include "network-manager/plan/plan.hpp"

#include <algorithm>
#include <format>
#include <functional>
#include <iterator>

#include "idl/errors.hpp"

namespace basalt::nm {

namespace {

constexpr std::size_t name_bytes_max = 15;  // IFNAMSIZ without its NUL
constexpr std::int64_t tag_max = 4094;

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};

[[noreturn]] void refuse(const std::string& why) {
    throw err::internal_error("network: " + why);
}

void check_name(const std::string& name) {
    const bool printable = std::ranges::all_of(
        name, [](char c) { return c > ' ' && c < '\x7f' && c != '/' && c != ':'; });
    if (name.empty() || name.size() > name_bytes_max || !printable || name == "." || name == "..")
        refuse("'" + name + "' cannot name an interface");
}

void check_vlan(const agent::BridgeWant& vlan, const State& state) {
    const auto parent = state.bridges.find(vlan.vlan_parent);
    if (parent == state.bridges.end())
        refuse(vlan.name + " is a VLAN on " + vlan.vlan_parent + ", which is not wanted");
    if (!parent->second.parent.empty()) refuse(vlan.name + " is a VLAN on a VLAN");
    if (!vlan.uplink.empty()) refuse(vlan.name + " is a VLAN with an uplink of its own");
    if (vlan.vlan_tag < 0 || vlan.vlan_tag > tag_max)
        throw err::vlan_tag_invalid(std::to_string(vlan.vlan_tag));
}

void check_bond(const std::string& name, const Bond& bond) {
    if (bond.members.empty()) return;
    if (bond.members.size() < 2) refuse(name + " has one member only");
    for (const std::string& member : bond.members)
        check_name(member);
    if (bond.mode != "balance-slb" && bond.mode != "active-backup" && bond.mode != "lacp")
        refuse(name + " cannot divide traffic by '" + bond.mode + "'");
}

void check_together(const State& state) {
    std::set<std::string> uplinks;
    std::set<std::pair<std::string, std::int64_t>> tags;
    for (const auto& [name, bridge] : state.bridges) {
        if (!bridge.uplink.empty() && !uplinks.insert(bridge.uplink).second)
            refuse(bridge.uplink + " cannot be the uplink of two bridges");
        for (const std::string& member : bridge.bond.members)
            if (!uplinks.insert(member).second) refuse(member + " cannot be used twice");
        if (!bridge.parent.empty() && !tags.emplace(bridge.parent, bridge.tag).second)
            refuse(std::format("two networks are VLAN {} on {}", bridge.tag, bridge.parent));
    }
}

const Addressing& addressing(const State& state, const std::string& link) {
    static const Addressing none;
    const auto found = state.links.find(link);
    return found == state.links.end() ? none : found->second;
}

Addressing joined(Addressing a, const Addressing& b) {
    a.addresses.insert(b.addresses.begin(), b.addresses.end());
    if (a.gateways.empty()) a.gateways = b.gateways;
    return a;
}

bool is_ipv6(const std::string& text) {
    return text.contains(':');
}

/// What of `all` is of IPv6, or of IPv4.
Addressing of_family(const Addressing& all, bool ipv6) {
    const auto of_it = [ipv6](const std::string& text) { return is_ipv6(text) == ipv6; };
    Addressing out;
    std::ranges::copy_if(all.addresses, std::inserter(out.addresses, out.addresses.end()), of_it);
    std::ranges::copy_if(all.gateways, std::inserter(out.gateways, out.gateways.end()), of_it);
    return out;
}

// Lies beside what IPv4 has: a link may have a router of each.
void desire_ipv6(Addressing& wanted, const agent::BridgeWant& want, const State& have) {
    Addressing six;
    // What it has learnt stays; what it was given, before it was to learn, does not.
    const auto known = have.bridges.find(want.name);
    if (want.autoconf && (known == have.bridges.end() || known->second.autoconf))
        six = joined(of_family(addressing(have, want.name), true),
                     of_family(addressing(have, want.uplink), true));
    six.addresses.insert(want.ipv6.begin(), want.ipv6.end());
    if (!want.gateway6.empty()) six.gateways = {want.gateway6};
    wanted.addresses.insert(six.addresses.begin(), six.addresses.end());
    wanted.gateways.insert(six.gateways.begin(), six.gateways.end());
}

// The uplink gives its addresses up only to a bridge that has some: what nobody manages stays.
void desire_addresses(State& state, const agent::BridgeWant& want, const State& have) {
    Addressing wanted;
    const std::vector<std::string>& members = state.bridges.at(want.name).bond.members;
    if (want.dhcp) {
        const auto leased = [&have](const std::string& link) {
            return of_family(addressing(have, link), false);
        };
        wanted = joined(leased(want.name), leased(want.uplink));
        for (const std::string& member : members)
            wanted = joined(std::move(wanted), leased(member));
    } else if (!want.address.empty()) {
        wanted.addresses.insert(want.address);
        if (!want.gateway.empty()) wanted.gateways.insert(want.gateway);
    }
    desire_ipv6(wanted, want, have);
    if (wanted == Addressing{}) return;
    state.links.erase(want.uplink);
    for (const std::string& member : members)
        state.links.erase(member);
    state.links[want.name] = std::move(wanted);
}

// A VLAN that moves to another parent is another port there: deleted and added.
bool stays(const Bridge& want, const Bridge& have) {
    return want.parent == have.parent;
}

// What a bond is made of cannot be changed in place: its port goes and comes in one transaction.
bool same_uplink(const Bridge& a, const Bridge& b) {
    return a.uplink == b.uplink && a.bond == b.bond && (a.bond.members.empty() || a.mtu == b.mtu);
}

const Bridge* find_staying(const State& state, const std::string& name, const Bridge& other) {
    const auto found = state.bridges.find(name);
    return found != state.bridges.end() && stays(found->second, other) ? &found->second : nullptr;
}

void plan_deletions(const State& want, const State& have, std::vector<Action>& actions) {
    for (const auto& [name, bridge] : have.bridges)
        if (!bridge.parent.empty() && find_staying(want, name, bridge) == nullptr)
            actions.emplace_back(DelVlan{name});
    for (const auto& [name, bridge] : have.bridges) {
        if (!bridge.parent.empty()) continue;
        const Bridge* stay = find_staying(want, name, bridge);
        if (stay == nullptr)
            actions.emplace_back(DelBridge{name});
        else if (!bridge.uplink.empty() && !same_uplink(bridge, *stay))
            actions.emplace_back(DelUplink{name, bridge.uplink});
    }
}

void plan_bridge(const std::string& name, const Bridge& want, const Bridge* have,
                 std::vector<Action>& actions) {
    // A link that is new takes what routers announce until it is told otherwise.
    const Bridge before =
        have != nullptr ? *have : Bridge{.parent = want.parent, .tag = want.tag, .autoconf = true};
    if (have == nullptr && want.parent.empty()) actions.emplace_back(AddBridge{name});
    if (have == nullptr && !want.parent.empty())
        actions.emplace_back(AddVlan{name, want.parent, want.tag});
    if (want.tag != before.tag) actions.emplace_back(SetTag{name, want.tag});
    if (!want.uplink.empty() && !same_uplink(want, before))
        actions.emplace_back(AddUplink{name, want.uplink, want.mtu, want.bond});
    if (want.mtu != before.mtu) actions.emplace_back(SetMtu{name, want.uplink, want.mtu});
    if (want.mac != before.mac) actions.emplace_back(SetMac{name, want.mac});
    if (want.snooping != before.snooping) actions.emplace_back(SetSnooping{name, want.snooping});
    if (want.autoconf != before.autoconf) actions.emplace_back(SetAutoconf{name, want.autoconf});
}

void plan_addresses(const State& want, const State& have, std::vector<Action>& actions) {
    for (const auto& [link, wanted] : want.links) {
        const Addressing& before = addressing(have, link);
        for (const std::string& cidr : wanted.addresses)
            if (!before.addresses.contains(cidr)) actions.emplace_back(AddAddress{link, cidr});
        for (const std::string& via : wanted.gateways)
            if (!before.gateways.contains(via)) actions.emplace_back(SetGateway{link, via});
    }
    for (const auto& [link, before] : have.links) {
        // What a deleted bridge had goes with it.
        if (have.bridges.contains(link) && !want.bridges.contains(link)) continue;
        const Addressing& wanted = addressing(want, link);
        for (const std::string& via : before.gateways)
            if (!wanted.gateways.contains(via)) actions.emplace_back(DelGateway{link, via});
        for (const std::string& cidr : before.addresses)
            if (!wanted.addresses.contains(cidr)) actions.emplace_back(DelAddress{link, cidr});
    }
}

void tidy(State& state, const std::string& link) {
    if (addressing(state, link) == Addressing{}) state.links.erase(link);
}

void delete_bridge(State& state, const std::string& name) {
    std::erase_if(state.bridges, [&](const auto& entry) {
        return entry.first == name || entry.second.parent == name;
    });
    state.links.erase(name);
}

}  // namespace

State desired(const agent::NetworkWant& want, const State& have) {
    State out;
    out.links = have.links;
    std::map<std::string, Bond> bonds;
    for (const agent::BondWant& bond : want.bonds) {
        Bond made{bond.members, bond.mode, bond.properties};
        std::ranges::sort(made.members);
        bonds.emplace(bond.name, std::move(made));
    }
    for (const agent::BridgeWant& bridge : want.bridges) {
        check_name(bridge.name);
        if (!bridge.uplink.empty()) check_name(bridge.uplink);
        const auto before = have.bridges.find(bridge.name);
        Bridge made{bridge.uplink, bridge.vlan_parent,
                    bridge.vlan_parent.empty() ? 0 : bridge.vlan_tag, bridge.mtu, bridge.mac};
        if (const auto bond = bonds.find(bridge.uplink); bond != bonds.end()) {
            check_bond(bond->first, bond->second);
            made.bond = bond->second;
        }
        made.snooping = want.igmp_snooping && bridge.vlan_parent.empty();
        made.autoconf = bridge.autoconf;
        if (before != have.bridges.end()) {
            if (made.mtu == 0) made.mtu = before->second.mtu;
            if (made.mac.empty()) made.mac = before->second.mac;
        }
        if (!out.bridges.emplace(bridge.name, std::move(made)).second)
            refuse("two bridges are called " + bridge.name);
    }
    for (const agent::BridgeWant& bridge : want.bridges)
        if (!bridge.vlan_parent.empty()) check_vlan(bridge, out);
    check_together(out);
    for (const auto& [name, bridge] : have.bridges)
        out.links.erase(name);
    for (const agent::BridgeWant& bridge : want.bridges)
        desire_addresses(out, bridge, have);
    return out;
}

std::vector<Action> plan(const State& want, const State& have) {
    std::vector<Action> actions;
    plan_deletions(want, have, actions);
    // Real bridges before the VLANs that stand on them.
    for (const bool vlan : {false, true})
        for (const auto& [name, bridge] : want.bridges)
            if (bridge.parent.empty() != vlan)
                plan_bridge(name, bridge, find_staying(have, name, bridge), actions);
    plan_addresses(want, have, actions);
    return actions;
}

void enact(State& state, const Action& action) {
    std::visit(Overloaded{
                   [&](const DelVlan& a) { delete_bridge(state, a.name); },
                   [&](const DelBridge& a) { delete_bridge(state, a.name); },
                   [&](const DelUplink& a) {
                       state.bridges.at(a.bridge).uplink.clear();
                       state.bridges.at(a.bridge).bond = {};
                   },
                   [&](const AddBridge& a) { state.bridges[a.name] = {.autoconf = true}; },
                   [&](const AddUplink& a) {
                       state.bridges.at(a.bridge).uplink = a.uplink;
                       state.bridges.at(a.bridge).bond = a.bond;
                   },
                   [&](const SetSnooping& a) { state.bridges.at(a.bridge).snooping = a.on; },
                   [&](const SetAutoconf& a) { state.bridges.at(a.bridge).autoconf = a.on; },
                   [&](const AddVlan& a) {
                       state.bridges[a.name] = {.parent = a.parent, .tag = a.tag, .autoconf = true};
                   },
                   [&](const SetTag& a) { state.bridges.at(a.name).tag = a.tag; },
                   [&](const SetMtu& a) { state.bridges.at(a.bridge).mtu = a.mtu; },
                   [&](const SetMac& a) { state.bridges.at(a.bridge).mac = a.mac; },
                   [&](const AddAddress& a) { state.links[a.link].addresses.insert(a.cidr); },
                   [&](const SetGateway& a) { state.links[a.link].gateways.insert(a.via); },
                   [&](const DelGateway& a) {
                       state.links[a.link].gateways.erase(a.via);
                       tidy(state, a.link);
                   },
                   [&](const DelAddress& a) {
                       state.links[a.link].addresses.erase(a.cidr);
                       tidy(state, a.link);
                   },
               },
               action);
}

std::string describe(const Action& action) {
    return std::visit(
        Overloaded{
            [](const DelVlan& a) { return std::format("del-vlan {}", a.name); },
            [](const DelBridge& a) { return std::format("del-bridge {}", a.name); },
            [](const DelUplink& a) { return std::format("del-uplink {} {}", a.bridge, a.uplink); },
            [](const AddBridge& a) { return std::format("add-bridge {}", a.name); },
            [](const AddUplink& a) {
                std::string text = std::format("add-uplink {} {}", a.bridge, a.uplink);
                for (const std::string& member : a.bond.members)
                    text += " " + member;
                return a.bond.members.empty() ? text : text + " " + a.bond.mode;
            },
            [](const SetSnooping& a) {
                return std::format("set-snooping {} {}", a.bridge, a.on ? "on" : "off");
            },
            [](const SetAutoconf& a) {
                return std::format("set-autoconf {} {}", a.bridge, a.on ? "on" : "off");
            },
            [](const AddVlan& a) {
                return std::format("add-vlan {} {} {}", a.name, a.parent, a.tag);
            },
            [](const SetTag& a) { return std::format("set-tag {} {}", a.name, a.tag); },
            [](const SetMtu& a) { return std::format("set-mtu {} {}", a.bridge, a.mtu); },
            [](const SetMac& a) { return std::format("set-mac {} {}", a.bridge, a.mac); },
            [](const AddAddress& a) { return std::format("add-address {} {}", a.link, a.cidr); },
            [](const SetGateway& a) { return std::format("set-gateway {} {}", a.link, a.via); },
            [](const DelGateway& a) { return std::format("del-gateway {} {}", a.link, a.via); },
            [](const DelAddress& a) { return std::format("del-address {} {}", a.link, a.cidr); },
        },
        action);
}

void report_addresses(agent::BridgeHave& have, const State& state) {
    const auto link = state.links.find(have.name);
    if (link == state.links.end()) return;
    have.addresses.assign(link->second.addresses.begin(), link->second.addresses.end());
    have.gateways.assign(link->second.gateways.begin(), link->second.gateways.end());
    std::ranges::stable_partition(have.addresses, std::not_fn(is_ipv6));
    if (!have.addresses.empty()) have.address = have.addresses.front();
}

}  // namespace basalt::nm
