// What every network backend must mean by its verbs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sim_loop.hpp"
#include "network-manager/contract/rig.hpp"
#include "network-manager/sim/sim_network.hpp"

namespace basalt::nm {

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class SimRig final : public Rig {
  public:
    void run(Body body) override {
        const auto job = spawn(loop_, "test", body(network_));
        loop_.run_until([&] { return job->finished(); }, 60s);
        if (job->failure()) std::rethrow_exception(job->failure());
    }

  private:
    static std::vector<agent::NicFacts> nics() {
        return {{.name = "eth0", .mac = "02:00:00:00:00:10", .mtu = 1500, .carrier = true},
                {.name = "eth1", .mac = "02:00:00:00:00:11", .mtu = 1500, .carrier = true}};
    }

    SimLoop loop_{1};
    sim::SimNetwork network_{loop_, nics()};
};

struct Backend {
    std::string name;
    std::function<std::unique_ptr<Rig>(std::string&)> make;
};

class NetworkContract : public testing::TestWithParam<Backend> {
  protected:
    void SetUp() override {
        std::string why_not;
        rig_ = GetParam().make(why_not);
        if (!rig_) GTEST_SKIP() << why_not;
    }

    void run(Rig::Body body) { rig_->run(std::move(body)); }

  private:
    std::unique_ptr<Rig> rig_;
};

agent::NetworkWant both_and_vlan() {
    return {.bridges = {{.name = "xenbr0",
                         .uplink = "eth0",
                         .mtu = 1500,
                         .address = "10.77.0.1/24",
                         .gateway = "10.77.0.254"},
                        {.name = "xenbr1", .uplink = "eth1"},
                        {.name = "xapi1", .vlan_parent = "xenbr1", .vlan_tag = 7},
                        {.name = "xapi2"}}};
}

std::vector<std::string> lines(const agent::NetworkHave& have) {
    std::vector<std::string> out;
    for (const agent::BridgeHave& bridge : have.bridges) {
        std::string line = bridge.name;
        if (!bridge.vlan_parent.empty())
            line += " on " + bridge.vlan_parent + ":" + std::to_string(bridge.vlan_tag);
        for (const std::string& port : bridge.ports)
            line += " " + port;
        out.push_back(line + (bridge.address.empty() ? "" : " = " + bridge.address));
    }
    return out;
}

PortWant port(const std::string& name, const std::string& bridge) {
    return {.bridge = bridge,
            .name = name,
            .nic = {.vif = "11111111-0000-0000-0000-000000000001", .mac = "02:00:00:00:00:01"}};
}

Task<std::string> refusal(Task<void> verb) {
    try {
        co_await std::move(verb);
    } catch (const ApiError& error) {
        co_return error.code();
    }
    co_return "accepted";
}

Task<void> applied(Network& network, agent::NetworkWant want) {
    co_await network.apply(std::move(want));
}

TEST_P(NetworkContract, starts_with_nothing_but_its_interfaces) {
    run([](Network& network) -> Task<void> {
        EXPECT_THAT((co_await network.have()).bridges, IsEmpty());
        EXPECT_THAT(co_await network.ports(), IsEmpty());
        std::vector<std::string> names;
        for (const agent::NicFacts& nic : co_await network.interfaces())
            if (nic.name.starts_with("eth")) names.push_back(nic.name + " " + nic.mac);
        EXPECT_THAT(names, ElementsAre("eth0 02:00:00:00:00:10", "eth1 02:00:00:00:00:11"));
    });
}

TEST_P(NetworkContract, applies_what_is_wanted_and_again_without_effect) {
    run([](Network& network) -> Task<void> {
        for (int i = 0; i < 3; ++i) {
            const agent::NetworkHave have = co_await network.apply(both_and_vlan());
            EXPECT_THAT(lines(have), ElementsAre("xapi1 on xenbr1:7", "xapi2",
                                                 "xenbr0 eth0 = 10.77.0.1/24", "xenbr1 eth1"));
            EXPECT_EQ(co_await network.have(), have);
        }
    });
}

TEST_P(NetworkContract, removes_what_is_not_wanted_any_more) {
    run([](Network& network) -> Task<void> {
        co_await network.apply(both_and_vlan());
        agent::NetworkWant want = both_and_vlan();
        std::erase_if(want.bridges, [](const auto& b) { return b.name != "xenbr0"; });
        EXPECT_THAT(lines(co_await network.apply(want)), ElementsAre("xenbr0 eth0 = 10.77.0.1/24"));
        EXPECT_THAT(lines(co_await network.apply({})), IsEmpty());
        EXPECT_EQ((co_await network.interfaces()).size() >= 2, true);
    });
}

TEST_P(NetworkContract, a_want_that_contradicts_itself_changes_nothing) {
    run([](Network& network) -> Task<void> {
        const agent::NetworkHave before = co_await network.apply(both_and_vlan());
        agent::NetworkWant want = both_and_vlan();
        want.bridges.at(2).vlan_tag = 5000;
        EXPECT_EQ(co_await refusal(applied(network, want)), "VLAN_TAG_INVALID");
        EXPECT_EQ(co_await network.have(), before);
    });
}

TEST_P(NetworkContract, ports_come_and_go_idempotently) {
    run([](Network& network) -> Task<void> {
        co_await network.apply(both_and_vlan());
        for (int i = 0; i < 2; ++i) {
            co_await network.add_port(port("tap1", "xenbr0"));
            co_await network.add_port(port("tap2", "xapi1"));
        }
        EXPECT_THAT(co_await network.ports(), ElementsAre("tap1", "tap2"));
        EXPECT_THAT(lines(co_await network.have()),
                    ElementsAre("xapi1 on xenbr1:7 tap2", "xapi2",
                                "xenbr0 eth0 tap1 = 10.77.0.1/24", "xenbr1 eth1"));
        co_await network.add_port(port("tap2", "xapi2"));  // moves
        EXPECT_THAT(lines(co_await network.have()),
                    ElementsAre("xapi1 on xenbr1:7", "xapi2 tap2",
                                "xenbr0 eth0 tap1 = 10.77.0.1/24", "xenbr1 eth1"));
        for (int i = 0; i < 2; ++i)
            co_await network.remove_port("tap1");
        co_await network.remove_port("never-was");
        EXPECT_THAT(co_await network.ports(), ElementsAre("tap2"));
    });
}

TEST_P(NetworkContract, ports_outlive_changes_of_other_bridges) {
    run([](Network& network) -> Task<void> {
        co_await network.apply(both_and_vlan());
        co_await network.add_port(port("tap1", "xapi1"));
        agent::NetworkWant want = both_and_vlan();
        want.bridges.pop_back();
        want.bridges.at(2).vlan_tag = 9;
        EXPECT_THAT(
            lines(co_await network.apply(want)),
            ElementsAre("xapi1 on xenbr1:9 tap1", "xenbr0 eth0 = 10.77.0.1/24", "xenbr1 eth1"));
    });
}

TEST_P(NetworkContract, a_port_needs_its_bridge) {
    run([](Network& network) -> Task<void> {
        EXPECT_EQ(co_await refusal(network.add_port(port("tap1", "xapi9"))),
                  "BRIDGE_NOT_AVAILABLE");
        EXPECT_THAT(co_await network.ports(), IsEmpty());
    });
}

INSTANTIATE_TEST_SUITE_P(
    Backends, NetworkContract,
    testing::Values(Backend{"sim", [](std::string&) { return make_sim_rig(); }},
                    Backend{"ovs", [](std::string& why_not) { return make_ovs_rig(why_not); }},
                    Backend{"bridge",
                            [](std::string& why_not) { return make_bridge_rig(why_not); }}),
    [](const auto& backend) { return backend.param.name; });

}  // namespace

std::unique_ptr<Rig> make_sim_rig() {
    return std::make_unique<SimRig>();
}

}  // namespace basalt::nm
