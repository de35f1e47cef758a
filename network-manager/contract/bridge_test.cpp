// The kernel's bridges only: traffic, restarts of hostd, VLANs on the wire, what is not ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network-manager/contract/ovs_rig.hpp"
#include "network-manager/linux/bridge_network.hpp"
#include "network-manager/linux/bridges.hpp"
#include "network-manager/linux/links.hpp"

namespace basalt::nm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

bool kernel_has_vlans() {
    const bool made = run_shell("ip link add link eth0 name probe.1 type vlan id 1").second == 0;
    if (made) run_shell("ip link del probe.1");
    return made;
}

class BridgeRig final : public Rig {
  public:
    BridgeRig() { make_interfaces(); }

    void run(Body body) override { turn(loop_, body(*network_)); }

    /// As after a restart of hostd.
    void restart_agent() { network_ = std::make_unique<BridgeNetwork>(loop_, BridgeConfig{}); }

    [[nodiscard]] RealLoop& loop() { return loop_; }

  private:
    RealLoop loop_{2};
    std::unique_ptr<BridgeNetwork> network_ =
        std::make_unique<BridgeNetwork>(loop_, BridgeConfig{});
};

std::string shell(const std::string& command) {
    return run_shell(command).first;
}

/// All that is set, and nothing that runs by itself as timers do.
std::string settings() {
    return shell("ip -o link | sed 's/<[^>]*>//; s/ state [A-Z]*//'; ip -o -4 addr; ip route");
}

bool pings(const std::string& address) {
    return run_shell("ping -c 1 -W 1 " + address).second == 0;
}

class Bridges : public testing::Test {
  protected:
    void SetUp() override {
        const std::string why_not = enter_namespace();
        if (!why_not.empty()) GTEST_SKIP() << why_not;
        rig_ = std::make_unique<BridgeRig>();
    }

    BridgeRig& rig() { return *rig_; }

    void apply(agent::NetworkWant want) {
        rig().run([want](Network& network) -> Task<void> { co_await network.apply(want); });
    }

    void add_port(PortWant port) {
        rig().run([port](Network& network) -> Task<void> { co_await network.add_port(port); });
    }

    std::vector<std::string> ports_of(const std::string& bridge) {
        std::vector<std::string> out;
        rig().run([&](Network& network) -> Task<void> {
            for (const agent::BridgeHave& have : (co_await network.have()).bridges)
                if (have.name == bridge) out = have.ports;
        });
        return out;
    }

  private:
    std::unique_ptr<BridgeRig> rig_;
};

agent::NetworkWant management() {
    return {.bridges = {{.name = "xenbr0",
                         .uplink = "eth0",
                         .address = "10.77.0.1/24",
                         .gateway = "10.77.0.2"}}};
}

TEST_F(Bridges, moves_the_address_and_keeps_traffic) {
    Neighbour neighbour(rig().loop(), "wire0", "10.77.0.2/24");
    run_shell("ip addr add 10.77.0.1/24 dev eth0; ip route add default via 10.77.0.2");
    ASSERT_TRUE(pings("10.77.0.2"));
    apply(management());
    EXPECT_TRUE(pings("10.77.0.2"));
    EXPECT_THAT(shell("ip addr show eth0"), Not(HasSubstr("10.77.0.1")));
    EXPECT_THAT(shell("ip route"), HasSubstr("default via 10.77.0.2 dev xenbr0"));
    EXPECT_THAT(shell("ip link show xenbr0"), HasSubstr("02:00:00:00:00:10"));
    EXPECT_EQ(neighbour.send("10.77.0.1", 1 << 20), 1 << 20);
}

TEST_F(Bridges, a_guests_port_has_its_mtu_and_does_not_change_the_bridges_address) {
    apply(management());
    add_port({.bridge = "xenbr0", .name = "vif1.0", .mtu = 1400, .nic = {.vif = "x"}});
    EXPECT_THAT(shell("ip -d link show vif1.0"), HasSubstr("mtu 1400"));
    EXPECT_THAT(shell("ip -d link show vif1.0"), HasSubstr("persist on"));
    EXPECT_THAT(shell("ip -d link show vif1.0"), HasSubstr("master xenbr0"));
    run_shell("ip link set vif1.0 address 00:00:00:00:00:01");
    EXPECT_THAT(shell("ip link show xenbr0"), HasSubstr("02:00:00:00:00:10"));
    rig().run([](Network& network) -> Task<void> { co_await network.remove_port("vif1.0"); });
    EXPECT_FALSE(links::find("vif1.0").has_value());
}

TEST_F(Bridges, a_disabled_port_is_down_and_a_locked_one_refused) {
    apply(management());
    add_port({.bridge = "xenbr0", .name = "tap1", .nic = {.vif = "x", .disabled = true}});
    EXPECT_FALSE(links::find("tap1")->up);
    add_port({.bridge = "xenbr0", .name = "tap1", .nic = {.vif = "x"}});
    EXPECT_TRUE(links::find("tap1")->up);
    add_port({.bridge = "xenbr0", .name = "tap1", .nic = {.vif = "x", .disabled = true}});
    EXPECT_FALSE(links::find("tap1")->up);
    std::string code;
    try {
        add_port({.bridge = "xenbr0", .name = "tap2", .nic = {.vif = "y", .locked = true}});
    } catch (const ApiError& error) {
        code = error.code();
    }
    EXPECT_EQ(code, "OPENVSWITCH_NOT_ACTIVE");
    EXPECT_FALSE(links::find("tap2").has_value());
}

TEST_F(Bridges, mtu_and_mac_reach_the_bridge_and_its_uplink) {
    agent::NetworkWant want = management();
    want.bridges.at(0).mtu = 9000;
    want.bridges.at(0).mac = "02:00:00:00:00:77";
    apply(want);
    EXPECT_THAT(shell("ip link show eth0"), HasSubstr("mtu 9000"));
    EXPECT_THAT(shell("ip link show xenbr0"), HasSubstr("mtu 9000"));
    EXPECT_THAT(shell("ip link show xenbr0"), HasSubstr("02:00:00:00:00:77"));
}

TEST_F(Bridges, a_restarted_agent_finds_everything_and_has_nothing_to_do) {
    apply(management());
    add_port({.bridge = "xenbr0", .name = "tap1", .nic = {.vif = "x"}});
    const std::string before = settings();
    rig().restart_agent();
    EXPECT_THAT(ports_of("xenbr0"), ElementsAre("eth0", "tap1"));
    apply(management());
    EXPECT_EQ(settings(), before);
}

TEST_F(Bridges, what_a_crash_left_half_done_is_finished) {
    // A bridge made, nothing asked of it yet; a tap without a bridge.
    links::make_bridge("xenbr0", bridges::link_group);
    run_shell("ip addr add 10.77.0.1/24 dev eth0; ip tuntap add tap1 mode tap");
    links::set_alias("tap1", "basalt-guest x");
    apply(management());
    EXPECT_THAT(ports_of("xenbr0"), ElementsAre("eth0"));
    EXPECT_THAT(shell("ip addr show xenbr0"), HasSubstr("10.77.0.1/24"));
    rig().run([](Network& network) -> Task<void> {
        EXPECT_THAT(co_await network.ports(), ElementsAre("tap1"));
        co_await network.remove_port("tap1");
        EXPECT_TRUE((co_await network.ports()).empty());
    });
}

TEST_F(Bridges, what_the_kernel_refuses_is_taken_back) {
    apply(management());
    const std::string before = settings();
    agent::NetworkWant want = management();
    want.bridges.push_back({.name = "xapi1", .mtu = 100'000'000});
    want.bridges.at(0).address = "10.78.0.1/24";
    EXPECT_THROW(apply(want), ApiError);
    EXPECT_EQ(settings(), before);
    EXPECT_FALSE(links::find("xapi1").has_value());
}

TEST_F(Bridges, what_is_someone_elses_is_left_alone) {
    run_shell("ip link add xenbr0 type bridge && ip link add other type bridge");
    run_shell("ip link set eth1 master other");
    EXPECT_THROW(apply(management()), ApiError);
    EXPECT_THROW(apply({.bridges = {{.name = "xenbr1", .uplink = "eth1"}}}), ApiError);
    apply({});
    EXPECT_TRUE(links::find("xenbr0").has_value());
    EXPECT_THAT(shell("ip link show eth1"), HasSubstr("master other"));
    EXPECT_FALSE(links::find("xenbr1").has_value());
}

TEST_F(Bridges, a_missing_uplink_is_taken_up_when_it_is_there) {
    agent::NetworkWant want = management();
    want.bridges.push_back({.name = "xenbr5", .uplink = "eth5"});
    apply(want);
    EXPECT_TRUE(ports_of("xenbr5").empty());
    run_shell("ip link add eth5 type veth peer name wire5");
    apply(want);
    EXPECT_THAT(ports_of("xenbr5"), ElementsAre("eth5"));
}

TEST_F(Bridges, vlans_are_tagged_on_the_wire_and_separate) {
    if (!kernel_has_vlans()) GTEST_SKIP() << "this kernel has no VLAN devices";
    agent::NetworkWant want{
        .bridges = {
            {.name = "xenbr0", .uplink = "eth0"},
            {.name = "xapi7", .vlan_parent = "xenbr0", .vlan_tag = 7, .address = "10.7.0.1/24"},
            {.name = "xapi8", .vlan_parent = "xenbr0", .vlan_tag = 8, .address = "10.8.0.1/24"}}};
    apply(want);
    // The other end of the wire speaks VLAN 7 tagged, and claims the other network there too.
    run_shell("ip link add link wire0 name seven type vlan id 7");
    Neighbour neighbour(rig().loop(), "seven", "10.7.0.2/24");
    neighbour.run("ip addr add 10.8.0.2/24 dev eth0");
    EXPECT_TRUE(pings("10.7.0.2"));
    EXPECT_FALSE(pings("10.8.0.2"));
    // Tags swapped in one apply: what was 8 is 7 now.
    std::swap(want.bridges.at(1).vlan_tag, want.bridges.at(2).vlan_tag);
    apply(want);
    EXPECT_FALSE(pings("10.7.0.2"));
    EXPECT_TRUE(pings("10.8.0.2"));
    rig().restart_agent();
    apply({.bridges = {{.name = "xenbr0", .uplink = "eth0"}}});
    EXPECT_THAT(shell("ip link"), Not(HasSubstr("eth0.")));
}

TEST(BridgeAlias, tells_what_was_asked) {
    const Bridge vlan{.parent = "xenbr0", .tag = 7, .mtu = 1400};
    const Bridge plain{.uplink = "eth0", .mac = "02:00:00:00:00:01"};
    EXPECT_EQ(bridges::asked_in(bridges::alias_of(vlan)), vlan);
    EXPECT_EQ(bridges::asked_in(bridges::alias_of(plain)), plain);
    EXPECT_EQ(bridges::asked_in(bridges::alias_of({})), Bridge{});
    EXPECT_EQ(bridges::asked_in("uplink of the third floor, uplink=eth0"), Bridge{});
    EXPECT_EQ(bridges::asked_in(""), Bridge{});
}

}  // namespace

std::unique_ptr<Rig> make_bridge_rig(std::string& why_not) {
    why_not = enter_namespace();
    if (!why_not.empty()) return nullptr;
    auto rig = std::make_unique<BridgeRig>();
    if (!kernel_has_vlans()) {
        why_not = "this kernel has no VLAN devices (nm_bridge_guest runs this in one that has)";
        return nullptr;
    }
    return rig;
}

}  // namespace basalt::nm
