// Open vSwitch only: traffic, restarts and crashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "base/log.hpp"
#include "network-manager/contract/ovs_rig.hpp"
#include "network-manager/linux/links.hpp"

namespace basalt::nm {
namespace {

using testing::HasSubstr;
using testing::Not;

class Ovs : public testing::Test {
  protected:
    void SetUp() override {
        const std::string why_not = OvsRig::why_not();
        if (!why_not.empty()) GTEST_SKIP() << why_not;
        rig_ = std::make_unique<OvsRig>();
    }

    OvsRig& rig() { return *rig_; }

    void apply(agent::NetworkWant want) {
        rig().run([want](Network& network) -> Task<void> { co_await network.apply(want); });
    }

    // vswitchd takes seconds to find a database that was away.
    void apply_when_ready(agent::NetworkWant want) {
        for (int i = 0; i < 5; ++i) {
            try {
                return apply(want);
            } catch (const ApiError& error) {
                log::info("test.retry", {{"error", error.what()}});
            }
        }
        ADD_FAILURE() << "Open vSwitch did not come back";
    }

    void wait_for_address(const std::string& link, const std::string& cidr) {
        rig().run([this, link, cidr](Network&) -> Task<void> {
            for (int i = 0; i < 100; ++i) {
                if (rig().shell("ip addr show " + link).contains(cidr)) co_return;
                co_await sleep_for(rig().loop(), 50ms);
            }
            ADD_FAILURE() << link << " has no " << cidr;
        });
    }

    static bool pings(const std::string& address, int tries = 1) {
        bool answered = false;
        for (int i = 0; i < tries && !answered; ++i)
            answered = run_shell("ping -c 1 -W 1 " + address).second == 0;
        return answered;
    }

  private:
    std::unique_ptr<OvsRig> rig_;
};

agent::NetworkWant management() {
    return {.bridges = {{.name = "xenbr0",
                         .uplink = "eth0",
                         .address = "10.77.0.1/24",
                         .gateway = "10.77.0.2"}}};
}

TEST_F(Ovs, moves_the_address_and_keeps_traffic) {
    Neighbour neighbour(rig().loop(), "wire0", "10.77.0.2/24");
    run_shell("ip addr add 10.77.0.1/24 dev eth0; ip route add default via 10.77.0.2");
    ASSERT_TRUE(pings("10.77.0.2"));
    apply(management());
    EXPECT_TRUE(pings("10.77.0.2"));
    EXPECT_THAT(rig().shell("ip addr show eth0"), Not(HasSubstr("10.77.0.1")));
    EXPECT_THAT(rig().shell("ip route"), HasSubstr("default via 10.77.0.2 dev xenbr0"));
    EXPECT_THAT(rig().shell("ip link show xenbr0"), HasSubstr("02:00:00:00:00:10"));
    // TCP too, which hangs when checksums are left to hardware that is not there.
    EXPECT_EQ(neighbour.send("10.77.0.1", 1 << 20), 1 << 20);
}

TEST_F(Ovs, dhcp_takes_the_lease_over) {
    run_shell("ip addr add 10.9.0.5/16 dev eth0; ip route add default via 10.9.0.1");
    agent::NetworkWant want{.bridges = {{.name = "xenbr0", .uplink = "eth0", .dhcp = true}}};
    for (int i = 0; i < 2; ++i) {
        apply(want);
        EXPECT_THAT(rig().shell("ip addr show xenbr0"), HasSubstr("10.9.0.5/16"));
        EXPECT_THAT(rig().shell("ip addr show eth0"), Not(HasSubstr("10.9.0.5/16")));
        EXPECT_THAT(rig().shell("ip route"), HasSubstr("default via 10.9.0.1 dev xenbr0"));
    }
}

TEST_F(Ovs, a_bond_is_one_port_of_several_cards) {
    agent::NetworkWant want{
        .bridges = {{.name = "xapi2", .uplink = "bond0", .address = "10.77.0.1/24"}},
        .bonds = {{.name = "bond0",
                   .members = {"eth0", "eth1"},
                   .mode = "lacp",
                   .properties = {{"hashing_algorithm", "src_mac"}, {"lacp-time", "fast"}}}},
        .igmp_snooping = true};
    for (int i = 0; i < 2; ++i)
        apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xapi2; ovs-vsctl list-ifaces xapi2"),
              "bond0\neth0\neth1\n");
    EXPECT_EQ(rig().shell("ovs-vsctl get Port bond0 bond_mode lacp other_config:lacp-time"),
              "balance-slb\nactive\nfast\n");
    EXPECT_EQ(rig().shell("ovs-vsctl get Bridge xapi2 mcast_snooping_enable"), "true\n");
    want.bonds.front() = {.name = "bond0", .members = {"eth0", "eth1"}, .mode = "active-backup"};
    want.igmp_snooping = false;
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl get Port bond0 bond_mode lacp"), "active-backup\noff\n");
    // Either card carries the traffic: the other one's link may go.
    Neighbour neighbour(rig().loop(), "wire1", "10.77.0.2/24");
    run_shell("ip link set eth0 down");
    EXPECT_TRUE(pings("10.77.0.2", 10));
    want.bonds.clear();
    want.bridges = {{.name = "xenbr0", .uplink = "eth0"}, {.name = "xenbr1", .uplink = "eth1"}};
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-br"), "xenbr0\nxenbr1\n");
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xenbr1"), "eth1\n");
}

TEST_F(Ovs, those_manage_it_who_are_wanted) {
    rig().shell("ovs-vsctl set-manager ptcp:6600:127.0.0.1");  // somebody else's
    agent::NetworkWant want{.bridges = {{.name = "xenbr0", .uplink = "eth0"}},
                            .managers = {"pssl:6641", "ssl:10.77.0.9:6632"}};
    for (int i = 0; i < 2; ++i)
        apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl get-manager"),
              "pssl:6641\nptcp:6600:127.0.0.1\nssl:10.77.0.9:6632\n");
    EXPECT_THAT(rig().shell("ovs-vsctl get-ssl"), HasSubstr("Bootstrap: true"));
    want.managers = {"pssl:6641"};
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl get-manager"), "pssl:6641\nptcp:6600:127.0.0.1\n");
    want.managers.clear();
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl get-manager"), "ptcp:6600:127.0.0.1\n");
}

TEST_F(Ovs, vlans_are_separate_and_listed_as_bridges) {
    // Two machines on one wire: the far end of eth0 carries VLAN 7 tagged to a second switch port.
    agent::NetworkWant want{
        .bridges = {
            {.name = "xenbr0", .uplink = "eth0"},
            {.name = "xapi7", .vlan_parent = "xenbr0", .vlan_tag = 7, .address = "10.7.0.1/24"},
            {.name = "xapi8", .vlan_parent = "xenbr0", .vlan_tag = 8, .address = "10.8.0.1/24"}}};
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-br"), "xapi7\nxapi8\nxenbr0\n");
    EXPECT_EQ(rig().shell("ovs-vsctl br-to-vlan xapi7; ovs-vsctl br-to-parent xapi7"),
              "7\nxenbr0\n");
    // A neighbour on an access port of VLAN 7 reaches that network and no other.
    run_shell("ip link add a7 type veth peer name b7 && ip link set a7 up");
    rig().shell("ovs-vsctl add-port xapi7 a7");
    Neighbour neighbour(rig().loop(), "b7", "10.7.0.2/24");
    neighbour.run("ip addr add 10.8.0.2/24 dev eth0");
    EXPECT_TRUE(pings("10.7.0.2"));
    EXPECT_FALSE(pings("10.8.0.2"));
    // Rows of others stay.
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xapi7"), "a7\n");
}

TEST_F(Ovs, a_guest_port_carries_the_networks_tag) {
    apply({.bridges = {{.name = "xenbr0", .uplink = "eth0"},
                       {.name = "xapi7", .vlan_parent = "xenbr0", .vlan_tag = 7, .mtu = 1400}}});
    rig().run([](Network& network) -> Task<void> {
        const agent::NicSpec nic{.vif = "6c5e3b2e-0000-4000-8000-000000000001",
                                 .mac = "02:00:00:00:00:aa"};
        co_await network.add_port({.bridge = "xapi7", .name = "vif1.0", .mtu = 1400, .nic = nic});
    });
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xapi7"), "vif1.0\n");
    EXPECT_EQ(rig().shell("ovs-vsctl get port vif1.0 tag"), "7\n");
    EXPECT_THAT(rig().shell("ovs-vsctl get interface vif1.0 external_ids"),
                HasSubstr("xs-vif-uuid=\"6c5e3b2e-0000-4000-8000-000000000001\""));
    EXPECT_THAT(rig().shell("ip -d link show vif1.0"), HasSubstr("mtu 1400"));
    EXPECT_THAT(rig().shell("ip -d link show vif1.0"), HasSubstr("persist on"));
    rig().run([](Network& network) -> Task<void> { co_await network.remove_port("vif1.0"); });
    EXPECT_FALSE(links::find("vif1.0").has_value());
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xapi7"), "");
}

TEST_F(Ovs, a_guest_port_is_limited_to_its_trunks) {
    apply({.bridges = {{.name = "xenbr0", .uplink = "eth0"}}});
    PortWant port{.bridge = "xenbr0", .name = "vif1.0", .mtu = 1500};
    port.nic.vif = "6c5e3b2e-0000-4000-8000-000000000001";
    port.nic.mac = "02:00:00:00:00:aa";
    const auto plug = [&] {
        rig().run([port](Network& network) -> Task<void> { co_await network.add_port(port); });
        return rig().shell("ovs-vsctl get port vif1.0 vlan_mode trunks");
    };
    EXPECT_EQ(plug(), "[]\n[]\n");
    port.nic.trunks = {30, 10};
    EXPECT_EQ(plug(), "trunk\n[0, 10, 30]\n");
    EXPECT_EQ(plug(), "trunk\n[0, 10, 30]\n");
    port.nic.trunks = {};
    EXPECT_EQ(plug(), "[]\n[]\n");
}

// A hypervisor's interfaces come and go with its domains, under the same name.
TEST_F(Ovs, an_interface_that_others_made_is_connected_each_time_it_is_there_anew) {
    agent::NetworkWant want = management();
    want.bridges.at(0).gateway.clear();
    apply(want);
    PortWant port{.bridge = "xenbr0", .name = "vifguest", .mtu = 1400, .made = true};
    port.nic.vif = "0b5a17c0-0001-4000-8000-00000000000a";
    // Each with an address of its own: a neighbour's MAC is remembered for a while.
    for (const std::string address : {"10.77.0.8", "10.77.0.9"}) {
        run_shell("ip link add vifguest type veth peer name guest");
        Neighbour guest(rig().loop(), "guest", address + "/24");
        rig().run([port](Network& network) -> Task<void> { co_await network.add_port(port); });
        EXPECT_TRUE(pings(address, 5)) << address;
        EXPECT_THAT(rig().shell("ip link show vifguest"), HasSubstr("mtu 1400"));
        run_shell("ip link delete vifguest");
    }
    rig().run([](Network& network) -> Task<void> { co_await network.remove_port("vifguest"); });
    EXPECT_THAT(rig().shell("ovs-vsctl list-ports xenbr0"), Not(HasSubstr("vifguest")));
}

TEST_F(Ovs, the_address_comes_back_when_vswitchd_was_killed) {
    Neighbour neighbour(rig().loop(), "wire0", "10.77.0.2/24");
    apply(management());
    rig().stop_switch(SIGKILL);
    EXPECT_FALSE(pings("10.77.0.2"));
    rig().start_switch();
    wait_for_address("xenbr0", "10.77.0.1/24");
    EXPECT_TRUE(pings("10.77.0.2", 5)) << rig().shell("ip addr; ip route; ovs-vsctl show");
    EXPECT_THAT(rig().shell("ip route"), HasSubstr("default via 10.77.0.2 dev xenbr0"));
}

TEST_F(Ovs, the_database_may_restart) {
    apply(management());
    rig().stop_database(SIGKILL);
    rig().start_database();
    agent::NetworkWant want = management();
    want.bridges.push_back({.name = "xapi1"});
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-br"), "xapi1\nxenbr0\n");
}

TEST_F(Ovs, what_vswitchd_does_not_do_is_taken_back) {
    apply(management());
    rig().stop_switch(SIGKILL);
    agent::NetworkWant want = management();
    want.bridges.push_back({.name = "xapi1"});
    EXPECT_THROW(apply(want), ApiError);
    EXPECT_EQ(rig().shell("ovs-vsctl --no-wait list-br"), "xenbr0\n");
    rig().run([](Network& network) -> Task<void> {
        std::string code;
        try {
            co_await network.add_port({.bridge = "xenbr0", .name = "tap1"});
        } catch (const ApiError& error) {
            code = error.code();
        }
        EXPECT_EQ(code, "INTERNAL_ERROR");
        EXPECT_EQ((co_await network.ports()).size(), 0U);
    });
    EXPECT_FALSE(links::find("tap1").has_value());
}

TEST_F(Ovs, without_a_database_verbs_fail_in_time_and_work_afterwards) {
    rig().stop_database(SIGTERM);
    EXPECT_THROW(apply(management()), ApiError);
    rig().start_database();
    apply_when_ready(management());
    EXPECT_EQ(rig().shell("ovs-vsctl list-br"), "xenbr0\n");
}

// Killing between any two steps of a verb leaves one of these; the same verb again finishes it.
TEST_F(Ovs, what_a_crash_left_half_done_is_finished) {
    run_shell("ip addr add 10.77.0.1/24 dev eth0; ip tuntap add tap1 mode tap");
    links::set_alias("tap1", "basalt-guest x");
    rig().run([](Network& network) -> Task<void> {
        // A tap that had not become a port yet.
        EXPECT_THAT(co_await network.ports(), testing::ElementsAre("tap1"));
    });
    agent::NetworkWant bare = management();
    bare.bridges.at(0).address.clear();
    bare.bridges.at(0).gateway.clear();
    apply(bare);  // the bridges are there, the address has not moved
    EXPECT_THAT(rig().shell("ip addr show eth0"), HasSubstr("10.77.0.1/24"));
    rig().restart_agent();
    apply(management());
    EXPECT_THAT(rig().shell("ip addr show xenbr0"), HasSubstr("10.77.0.1/24"));
    EXPECT_THAT(rig().shell("ip addr show eth0"), Not(HasSubstr("10.77.0.1/24")));
    rig().run([](Network& network) -> Task<void> {
        co_await network.remove_port("tap1");
        EXPECT_EQ((co_await network.ports()).size(), 0U);
    });
}

TEST_F(Ovs, a_bridge_of_someone_else_is_left_alone) {
    rig().shell("ovs-vsctl add-br xenbr0 -- set bridge xenbr0 datapath_type=netdev");
    EXPECT_THROW(apply(management()), ApiError);
    apply({});
    EXPECT_EQ(rig().shell("ovs-vsctl list-br"), "xenbr0\n");
}

TEST_F(Ovs, a_missing_uplink_is_taken_up_when_it_appears) {
    agent::NetworkWant want = management();
    want.bridges.push_back({.name = "xenbr5", .uplink = "eth5"});
    apply(want);
    EXPECT_THAT(rig().shell("ip addr show xenbr0"), HasSubstr("10.77.0.1/24"));
    run_shell("ip link add eth5 type veth peer name wire5");
    apply(want);
    EXPECT_EQ(rig().shell("ovs-vsctl list-ports xenbr5"), "eth5\n");
}

}  // namespace
}  // namespace basalt::nm
