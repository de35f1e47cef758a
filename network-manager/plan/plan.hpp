#pragma once
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "agent_values.hpp"

/// The pure half of the network: what a host has and should have are values, and the steps between
/// them are computed, never improvised.
namespace basalt::nm {

/// Several interfaces that are one uplink. No members: an uplink is the interface of its name.
struct Bond {
    std::vector<std::string> members;  // sorted
    std::string mode;                  // balance-slb, active-backup, lacp
    std::map<std::string, std::string> properties;
    bool operator==(const Bond&) const = default;
};

/// A bridge of ours. One with a `parent` is a VLAN on that bridge.
struct Bridge {
    std::string uplink;
    std::string parent;
    std::int64_t tag = 0;
    std::int64_t mtu = 0;   // 0: nobody asked for one
    std::string mac;        // empty: nobody asked for one
    Bond bond;              // what `uplink` is made of
    bool snooping = false;  // multicast goes only to who has asked for it
    bool autoconf = false;  // what IPv6 routers announce is taken
    bool operator==(const Bridge&) const = default;
};

/// The IP configuration of one interface.
struct Addressing {
    std::set<std::string> addresses;  // CIDR
    std::set<std::string> gateways;   // of its default routes
    bool operator==(const Addressing&) const = default;
};

struct State {
    std::map<std::string, Bridge> bridges;
    std::map<std::string, Addressing> links;  // bridges and uplinks; absent means no address
    bool operator==(const State&) const = default;
};

struct DelVlan {
    std::string name;
};

struct DelBridge {
    std::string name;
};

struct DelUplink {
    std::string bridge, uplink;
};

struct AddBridge {
    std::string name;
};

struct AddUplink {
    std::string bridge, uplink;
    std::int64_t mtu = 0;
    Bond bond;
};

struct AddVlan {
    std::string name, parent;
    std::int64_t tag = 0;
};

/// Guests on the VLAN move with it.
struct SetTag {
    std::string name;
    std::int64_t tag = 0;
};

struct SetMtu {
    std::string bridge, uplink;
    std::int64_t mtu = 0;
};

struct SetMac {
    std::string bridge, mac;
};

struct SetSnooping {
    std::string bridge;
    bool on = false;
};

struct SetAutoconf {
    std::string bridge;
    bool on = false;
};

struct AddAddress {
    std::string link, cidr;
};

struct SetGateway {
    std::string link, via;
};

struct DelGateway {
    std::string link, via;
};

struct DelAddress {
    std::string link, cidr;
};

using Action =
    std::variant<DelVlan, DelBridge, DelUplink, AddBridge, AddUplink, AddVlan, SetTag, SetMtu,
                 SetMac, SetSnooping, SetAutoconf, AddAddress, SetGateway, DelGateway, DelAddress>;

/// What is wanted, made whole from what is there: dhcp keeps (and takes over from the uplink) the
/// addresses that a lease brought, autoconf those that an IPv6 router did; an mtu or mac that
/// nobody asks for stays as it is. Throws VLAN_TAG_INVALID, and INTERNAL_ERROR for a want that
/// contradicts itself.
State desired(const agent::NetworkWant& want, const State& have);

/// The steps from `have` to `want`. Bridges: deletions first, as additions may need the name, tag
/// or uplink freed. Addresses: deletions last, so that the host is never without one.
/// `plan(x, x)` is empty.
std::vector<Action> plan(const State& want, const State& have);

/// Does one step on the model. `modelled(have, plan(want, have)) == want`.
void enact(State& state, const Action& action);

/// One line a step, for logs and golden files.
std::string describe(const Action& action);

/// Puts what `state` knows of the addresses of the bridge called `have.name` into `have`.
void report_addresses(agent::BridgeHave& have, const State& state);

}  // namespace basalt::nm
