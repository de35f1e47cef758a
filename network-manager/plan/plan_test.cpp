#include "network-manager/plan/plan.hpp"

#include <gtest/gtest.h>

#include <random>

#include "base/error.hpp"

namespace basalt::nm {
namespace {

std::vector<std::string> texts(const std::vector<Action>& actions) {
    std::vector<std::string> out;
    for (const Action& action : actions)
        out.push_back(describe(action));
    return out;
}

using Texts = std::vector<std::string>;

State enacted(State state, const std::vector<Action>& actions) {
    for (const Action& action : actions)
        enact(state, action);
    return state;
}

agent::NetworkWant management() {
    return {.bridges = {{.name = "xenbr0",
                         .uplink = "eth0",
                         .mtu = 1500,
                         .address = "10.0.0.1/24",
                         .gateway = "10.0.0.254"},
                        {.name = "xapi1", .vlan_parent = "xenbr0", .vlan_tag = 7, .mtu = 1500}}};
}

TEST(Plan, a_bridge_takes_over_the_address_before_the_uplink_loses_it) {
    const State have{.links = {{"eth0", {{"10.0.0.1/24"}, {"10.0.0.254"}}}}};
    EXPECT_EQ(texts(plan(desired(management(), have), have)),
              (Texts{"add-bridge xenbr0", "add-uplink xenbr0 eth0", "set-mtu xenbr0 1500",
                     "set-autoconf xenbr0 off", "add-vlan xapi1 xenbr0 7", "set-mtu xapi1 1500",
                     "set-autoconf xapi1 off", "add-address xenbr0 10.0.0.1/24",
                     "set-gateway xenbr0 10.0.0.254", "del-gateway eth0 10.0.0.254",
                     "del-address eth0 10.0.0.1/24"}));
}

TEST(Plan, dhcp_keeps_what_the_lease_brought) {
    agent::NetworkWant want = management();
    want.bridges.at(0).address.clear();
    want.bridges.at(0).dhcp = true;
    const State have{.links = {{"eth0", {{"10.9.0.5/16"}, {"10.9.0.1"}}}}};
    const State first = desired(want, have);
    EXPECT_EQ(first.links.at("xenbr0"), (Addressing{{"10.9.0.5/16"}, {"10.9.0.1"}}));
    EXPECT_FALSE(first.links.contains("eth0"));
    EXPECT_EQ(desired(want, first), first);
}

TEST(Plan, a_lease_of_ipv4_keeps_no_address_of_ipv6) {
    agent::NetworkWant want = management();
    want.bridges.at(0).address.clear();
    want.bridges.at(0).dhcp = true;
    const Addressing both{{"10.9.0.5/16", "fd00:1::7/64"}, {"10.9.0.1", "fd00:1::1"}};
    want.bridges.at(0).autoconf = true;
    const State learnt = desired(want, State{.links = {{"eth0", both}}});
    EXPECT_EQ(learnt.links.at("xenbr0"), both);
    // IPv6 is switched off.
    want.bridges.at(0).autoconf = false;
    const State now = desired(want, learnt);
    EXPECT_EQ(now.links.at("xenbr0"), (Addressing{{"10.9.0.5/16"}, {"10.9.0.1"}}));
    EXPECT_EQ(texts(plan(now, learnt)),
              (Texts{"set-autoconf xenbr0 off", "del-gateway xenbr0 fd00:1::1",
                     "del-address xenbr0 fd00:1::7/64"}));
}

TEST(Plan, ipv6_lies_beside_what_ipv4_has) {
    agent::NetworkWant want = management();
    want.bridges.at(0).ipv6 = {"fd00::5/64"};
    want.bridges.at(0).gateway6 = "fd00::1";
    const State have{.links = {{"eth0", {{"10.0.0.1/24", "fd00:1::7/64"}, {"10.0.0.254"}}}}};
    const State fixed = desired(want, have);
    EXPECT_EQ(fixed.links.at("xenbr0"),
              (Addressing{{"10.0.0.1/24", "fd00::5/64"}, {"10.0.0.254", "fd00::1"}}));
    // What routers announce is kept, the uplink's too, which the bridge takes over.
    want.bridges.at(0).ipv6.clear();
    want.bridges.at(0).gateway6.clear();
    want.bridges.at(0).autoconf = true;
    const State announced = desired(want, have);
    EXPECT_EQ(announced.links.at("xenbr0"),
              (Addressing{{"10.0.0.1/24", "fd00:1::7/64"}, {"10.0.0.254"}}));
    EXPECT_EQ(texts(plan(announced, fixed)),
              (Texts{"set-autoconf xenbr0 on", "add-address xenbr0 fd00:1::7/64",
                     "del-gateway xenbr0 fd00::1", "del-address xenbr0 fd00::5/64"}));
    EXPECT_EQ(desired(want, announced), announced);
    // What it was given is no announcement.
    EXPECT_EQ(desired(want, fixed).links.at("xenbr0"),
              (Addressing{{"10.0.0.1/24"}, {"10.0.0.254"}}));
}

TEST(Plan, a_bond_takes_over_its_members_addresses) {
    agent::NetworkWant want{
        .bridges = {{.name = "xapi2", .uplink = "bond0", .mtu = 1500, .dhcp = true}},
        .bonds = {{.name = "bond0", .members = {"eth1", "eth0"}, .mode = "active-backup"}}};
    const State have{.links = {{"eth0", {{"10.9.0.5/16"}, {}}}}};
    const State wanted = desired(want, have);
    EXPECT_EQ(wanted.links.at("xapi2").addresses, (std::set<std::string>{"10.9.0.5/16"}));
    EXPECT_FALSE(wanted.links.contains("eth0"));
    EXPECT_EQ(texts(plan(wanted, have)),
              (Texts{"add-bridge xapi2", "add-uplink xapi2 bond0 eth0 eth1 active-backup",
                     "set-mtu xapi2 1500", "set-autoconf xapi2 off",
                     "add-address xapi2 10.9.0.5/16", "del-address eth0 10.9.0.5/16"}));
    EXPECT_EQ(enacted(have, plan(wanted, have)), wanted);
    // Another mode: the port goes and comes.
    want.bonds.at(0).mode = "lacp";
    want.bonds.at(0).properties = {{"lacp-time", "fast"}};
    EXPECT_EQ(texts(plan(desired(want, wanted), wanted)),
              (Texts{"del-uplink xapi2 bond0", "add-uplink xapi2 bond0 eth0 eth1 lacp"}));
    want.igmp_snooping = true;
    EXPECT_EQ(texts(plan(desired(want, wanted), wanted)).back(), "set-snooping xapi2 on");
    want.bonds.at(0).mode = "magic";
    EXPECT_THROW(desired(want, have), ApiError);
    want.bonds.at(0) = {.name = "bond0", .members = {"eth0"}, .mode = "lacp"};
    EXPECT_THROW(desired(want, have), ApiError);
}

TEST(Plan, deletions_come_first) {
    const State have = desired(management(), {});
    agent::NetworkWant want{.bridges = {{.name = "xenbr1", .uplink = "eth0"}}};
    EXPECT_EQ(texts(plan(desired(want, have), have)),
              (Texts{"del-vlan xapi1", "del-bridge xenbr0", "add-bridge xenbr1",
                     "add-uplink xenbr1 eth0", "set-autoconf xenbr1 off"}));
}

TEST(Plan, a_new_tag_keeps_the_vlan_and_a_new_parent_replaces_it) {
    const State have = desired(management(), {});
    agent::NetworkWant want = management();
    want.bridges.at(1).vlan_tag = 8;
    EXPECT_EQ(texts(plan(desired(want, have), have)), (Texts{"set-tag xapi1 8"}));
    want.bridges.push_back({.name = "xenbr1"});
    want.bridges.at(1).vlan_parent = "xenbr1";
    EXPECT_EQ(texts(plan(desired(want, have), have)),
              (Texts{"del-vlan xapi1", "add-bridge xenbr1", "set-autoconf xenbr1 off",
                     "add-vlan xapi1 xenbr1 8", "set-mtu xapi1 1500", "set-autoconf xapi1 off"}));
}

std::string refusal(const agent::NetworkWant& want) {
    try {
        desired(want, {});
    } catch (const ApiError& error) {
        return error.what();
    }
    return "accepted";
}

TEST(Plan, a_want_that_contradicts_itself_is_refused) {
    EXPECT_EQ(
        refusal({.bridges = {{.name = "b"}, {.name = "v", .vlan_parent = "b", .vlan_tag = 4095}}}),
        "VLAN_TAG_INVALID(4095)");
    EXPECT_NE(refusal({.bridges = {{.name = "v", .vlan_parent = "b"}}}), "accepted");
    EXPECT_NE(refusal({.bridges = {{.name = "b"}, {.name = "b"}}}), "accepted");
    EXPECT_NE(refusal({.bridges = {{.name = "a", .uplink = "e"}, {.name = "b", .uplink = "e"}}}),
              "accepted");
    EXPECT_NE(refusal({.bridges = {{.name = "../etc"}}}), "accepted");
    EXPECT_NE(refusal({.bridges = {{.name = "sixteen-letters-"}}}), "accepted");
    EXPECT_EQ(refusal({.bridges = {{.name = "b"}, {.name = "v", .vlan_parent = "b"}}}), "accepted");
}

// Any want from any state: the steps lead there, and nothing is left to do afterwards.
class Random {
  public:
    explicit Random(unsigned seed) : random_(seed) {}

    State state(const State& have) {
        agent::NetworkWant want;
        std::set<std::string> uplinks;
        for (int i = 0; i < 4; ++i) {
            if (below(3) == 0) continue;
            agent::BridgeWant bridge{.name = "br" + std::to_string(i), .mtu = below(2) * 9000};
            const std::string nic = "eth" + std::to_string(below(4));
            if (below(2) == 0 && uplinks.insert(nic).second) bridge.uplink = nic;
            if (below(2) == 0) bridge.address = "10.0." + std::to_string(below(3)) + ".1/24";
            if (below(2) == 0) bridge.gateway = "10.0.0." + std::to_string(200 + below(3));
            if (below(4) == 0) bridge.dhcp = true;
            if (below(3) == 0) bridge.ipv6 = {"fd00::" + std::to_string(1 + below(3)) + "/64"};
            if (below(3) == 0) bridge.gateway6 = "fd00::ff";
            bridge.autoconf = below(3) == 0;
            if (below(2) == 0) bridge.mac = "02:00:00:00:00:0" + std::to_string(below(3));
            want.bridges.push_back(bridge);
        }
        const std::size_t real = want.bridges.size();
        for (int i = 0; i < 3 && real > 0; ++i)
            if (below(2) == 0)
                want.bridges.push_back({.name = "xapi" + std::to_string(i),
                                        .vlan_parent = want.bridges.at(below(real)).name,
                                        .vlan_tag = 10 * i + below(3)});
        return desired(want, have);
    }

    template <class N>
    N below(N limit) {
        return static_cast<N>(random_() % static_cast<std::uint64_t>(limit));
    }

  private:
    std::mt19937_64 random_;
};

TEST(Plan, leads_from_anywhere_to_anywhere_and_then_is_empty) {
    for (unsigned seed = 0; seed < 2000; ++seed) {
        Random random(seed);
        State have{.links = {{"eth0", {{"10.0.0.1/24"}, {"10.0.0.254"}}}}};
        for (int step = 0; step < 4; ++step) {
            const State want = random.state(have);
            ASSERT_EQ(enacted(have, plan(want, have)), want) << "seed " << seed;
            ASSERT_EQ(texts(plan(want, want)), Texts{}) << "seed " << seed;
            have = want;
        }
    }
}

}  // namespace
}  // namespace basalt::nm
