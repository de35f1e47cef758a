#include "network-manager/linux/bridges.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <ranges>

#include "base/log.hpp"
#include "network-manager/linux/steps.hpp"

namespace basalt::nm::bridges {

namespace {

constexpr std::string_view alias_head = "basalt-bridge";
constexpr std::int64_t ethernet_mtu = 1500;
constexpr std::size_t name_bytes_max = 15;  // IFNAMSIZ without its NUL

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};

/// All links at one moment.
class Links {
  public:
    Links() : all_(links::list()) {}

    [[nodiscard]] const links::Link* named(const std::string& name) const {
        const auto found = std::ranges::find(all_, name, &links::Link::name);
        return found == all_.end() ? nullptr : &*found;
    }

    [[nodiscard]] const std::vector<links::Link>& all() const { return all_; }

  private:
    std::vector<links::Link> all_;
};

bool is_ours(const links::Link& link, const char* kind) {
    return link.group == link_group && link.kind == kind;
}

const links::Link& our_bridge(const Links& now, const std::string& name) {
    const links::Link* found = now.named(name);
    if (found == nullptr || !is_ours(*found, "bridge")) steps::fail("no bridge " + name);
    return *found;
}

std::int64_t number_in(const std::string& text) {
    std::int64_t out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

template <class F>
void ask(const std::string& name, F change) {
    Bridge asked = asked_in(our_bridge(Links(), name).alias);
    change(asked);
    links::set_alias(name, alias_of(asked));
}

void make(const std::string& name, const Bridge& asked) {
    links::make_bridge(name, link_group);
    links::set_alias(name, alias_of(asked));
}

void destroy(const std::string& name) {
    const Links now;
    const links::Link* bridge = now.named(name);
    if (bridge == nullptr || !is_ours(*bridge, "bridge")) return;
    for (const links::Link& link : now.all())
        if (is_ours(link, "vlan") && link.master == bridge->index) links::remove(link.name);
    links::remove(name);
}

/// False while it is not there.
bool add_uplink(const std::string& bridge_name, const std::string& uplink_name) {
    const Links now;
    const links::Link& bridge = our_bridge(now, bridge_name);
    const links::Link* uplink = now.named(uplink_name);
    if (uplink == nullptr) {
        log::warn("network.no_link", {{"name", uplink_name}});
        return false;
    }
    if (uplink->master != 0 && uplink->master != bridge.index)
        steps::fail(uplink_name + " is a port of another bridge");
    if (uplink->master == 0) links::add_to_bridge(uplink_name, bridge_name);
    return true;
}

void remove_uplink(const std::string& bridge_name, const std::string& uplink_name) {
    const Links now;
    const links::Link& bridge = our_bridge(now, bridge_name);
    const links::Link* uplink = now.named(uplink_name);
    if (uplink != nullptr && uplink->master == bridge.index) links::take_off_bridge(uplink_name);
}

void set_mtu(const SetMtu& step) {
    const std::int64_t mtu = step.mtu > 0 ? step.mtu : ethernet_mtu;
    // A bridge can carry no more than its ports.
    if (!step.uplink.empty() && links::find(step.uplink)) links::set_mtu(step.uplink, mtu);
    links::set_mtu(step.bridge, mtu);
    ask(step.bridge, [&](Bridge& asked) { asked.mtu = step.mtu; });
}

void set_mac(const SetMac& step) {
    if (!step.mac.empty()) links::set_mac(step.bridge, step.mac);
    ask(step.bridge, [&](Bridge& asked) { asked.mac = step.mac; });
}

/// Where the VLAN's frames come from and go to, with their tag.
struct Wire {
    int below = 0;
    std::string below_name;
    int tag = 0;
    bool operator==(const Wire&) const = default;
};

std::optional<Wire> wire_of(const Links& now, const std::map<std::string, Bridge>& wanted,
                            const Bridge& vlan) {
    const auto parent = wanted.find(vlan.parent);
    if (parent == wanted.end()) return std::nullopt;
    const std::string& carrier =
        parent->second.uplink.empty() ? parent->first : parent->second.uplink;
    const links::Link* below = now.named(carrier);
    if (below == nullptr) return std::nullopt;  // an uplink that is still to come
    return Wire{below->index, below->name, static_cast<int>(vlan.tag)};
}

// Long names of hardware leave no room for a tag; an index always does.
std::string device_name(const Wire& wire) {
    std::string name = std::format("{}.{}", wire.below_name, wire.tag);
    return name.size() <= name_bytes_max ? name : std::format("v{}.{}", wire.below, wire.tag);
}

// Before any is made: two networks may have swapped their tags.
void remove_misplaced(const std::map<std::string, Bridge>& wanted) {
    const Links now;
    for (const links::Link& link : now.all()) {
        if (!is_ours(link, "vlan")) continue;
        const bool in_place = std::ranges::any_of(wanted, [&](const auto& bridge) {
            const links::Link* there = now.named(bridge.first);
            const auto wire = wire_of(now, wanted, bridge.second);
            return there != nullptr && wire && there->index == link.master &&
                   wire->below == link.below && wire->tag == link.vlan;
        });
        if (!in_place) links::remove(link.name);
    }
}

void wire_vlan(const std::string& name, const Bridge& vlan,
               const std::map<std::string, Bridge>& wanted) {
    const Links now;
    const auto wire = wire_of(now, wanted, vlan);
    if (!wire) return log::warn("network.no_link", {{"name", vlan.parent}, {"vlan", name}});
    const auto placed = std::ranges::find_if(now.all(), [&](const links::Link& link) {
        return is_ours(link, "vlan") && link.below == wire->below && link.vlan == wire->tag;
    });
    const std::string device = placed == now.all().end() ? device_name(*wire) : placed->name;
    if (placed == now.all().end())
        links::make_vlan(
            {.name = device, .below = wire->below, .tag = wire->tag, .group = link_group});
    if (vlan.mtu > 0) links::set_mtu(device, vlan.mtu);
    links::add_to_bridge(device, name);
    links::set_up(device, true);
}

}  // namespace

std::string alias_of(const Bridge& bridge) {
    return std::format("{} uplink={} parent={} tag={} mtu={} mac={}", alias_head, bridge.uplink,
                       bridge.parent, bridge.tag, bridge.mtu, bridge.mac);
}

Bridge asked_in(const std::string& alias) {
    Bridge out;
    if (!alias.starts_with(std::format("{} ", alias_head))) return out;
    for (const auto part : std::views::split(alias, ' ')) {
        const std::string word(part.begin(), part.end());
        const std::size_t sign = word.find('=');
        if (sign == std::string::npos) continue;
        const std::string key = word.substr(0, sign);
        const std::string value = word.substr(sign + 1);
        if (key == "uplink") out.uplink = value;
        if (key == "parent") out.parent = value;
        if (key == "tag") out.tag = number_in(value);
        if (key == "mtu") out.mtu = number_in(value);
        if (key == "mac") out.mac = value;
    }
    return out;
}

std::map<std::string, Bridge> read() {
    const Links now;
    std::map<std::string, Bridge> out;
    for (const links::Link& link : now.all()) {
        if (!is_ours(link, "bridge")) continue;
        Bridge bridge = asked_in(link.alias);
        const links::Link* uplink = now.named(bridge.uplink);
        if (uplink == nullptr || uplink->master != link.index) bridge.uplink.clear();
        if (bridge.mtu != 0) bridge.mtu = link.mtu;
        if (!bridge.mac.empty()) bridge.mac = link.mac;
        out.emplace(link.name, std::move(bridge));
    }
    return out;
}

void enact(const Action& action) {
    std::visit(Overloaded{
                   [](const DelVlan& a) { destroy(a.name); },
                   [](const DelBridge& a) { destroy(a.name); },
                   [](const DelUplink& a) {
                       remove_uplink(a.bridge, a.uplink);
                       ask(a.bridge, [](Bridge& asked) { asked.uplink.clear(); });
                   },
                   [](const AddBridge& a) { make(a.name, {}); },
                   [](const AddUplink& a) {
                       if (add_uplink(a.bridge, a.uplink) && a.mtu > 0)
                           links::set_mtu(a.uplink, a.mtu);
                       ask(a.bridge, [&](Bridge& asked) { asked.uplink = a.uplink; });
                   },
                   [](const AddVlan& a) { make(a.name, {.parent = a.parent, .tag = a.tag}); },
                   [](const SetTag& a) { ask(a.name, [&](Bridge& asked) { asked.tag = a.tag; }); },
                   [](const SetMtu& a) { set_mtu(a); },
                   [](const SetMac& a) { set_mac(a); },
                   // Nobody asks a host without a switch for it (BridgeNetwork::apply).
                   [](const SetSnooping&) {},
                   [](const SetAutoconf&) {},
                   [](const AddAddress&) {},
                   [](const SetGateway&) {},
                   [](const DelGateway&) {},
                   [](const DelAddress&) {},
               },
               action);
}

void wire(const std::map<std::string, Bridge>& wanted) {
    remove_misplaced(wanted);
    for (const auto& [name, bridge] : wanted)
        if (!bridge.uplink.empty() && links::find(bridge.uplink))
            links::set_up(bridge.uplink, true);
    for (const auto& [name, bridge] : wanted) {
        if (!bridge.parent.empty()) wire_vlan(name, bridge, wanted);
        links::set_up(name, true);
    }
}

agent::NetworkHave report(const State& state) {
    const Links now;
    agent::NetworkHave have;
    for (const auto& [name, bridge] : state.bridges) {
        agent::BridgeHave one{.name = name, .vlan_parent = bridge.parent, .vlan_tag = bridge.tag};
        if (!bridge.uplink.empty()) one.ports.push_back(bridge.uplink);
        if (const links::Link* self = now.named(name))
            for (const links::Link& link : now.all())
                if (link.master == self->index && link.kind == "tun" &&
                    link.alias.starts_with(steps::tap_alias))
                    one.ports.push_back(link.name);
        std::ranges::sort(one.ports);
        report_addresses(one, state);
        have.bridges.push_back(std::move(one));
    }
    return have;
}

}  // namespace basalt::nm::bridges
