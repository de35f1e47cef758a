// By which interface a host is managed, and how it comes back when a change puts it out of reach.
#include <gtest/gtest.h>

#include "idl/records.hpp"
#include "tests/sim/sim_members.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Host;
using xenapi::Pif;
using xenapi::Ref;

class Management : public ::testing::Test {
  protected:
    Management() : sim_(5, 1) {}

    std::string code(const std::string& method, std::vector<Value> args = {}) {
        return code_of([&] { pool().call(method, std::move(args)); });
    }

    SimPool& pool() { return sim_.pool; }

    const Pif& row(Ref<Pif> pif) { return pool().db().get(pif); }

    Ref<Pif> card_of(Ref<Host> host) { return pool().db().get(host).PIFs.front(); }

    /// A VLAN of the host with a static address.
    Ref<Pif> vlan_of(Ref<Host> host, const char* address) {
        const auto network =
            pool().get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("apart")});
        const auto pif = pool().get<Ref<Pif>>(
            "PIF.create_VLAN", {Value("eth0"), of(network), of(host), Value(std::int64_t{12})});
        if (*address == '\0') return pif;
        EXPECT_EQ(configure(pif, address), "success");
        return pif;
    }

    std::string configure(Ref<Pif> pif, const char* address) {
        return code("PIF.reconfigure_ip", {of(pif), Value("Static"), Value(address),
                                           Value("255.255.255.0"), Value(""), Value("")});
    }

    std::string address_of(Ref<Host> host) { return pool().db().get(host).address; }

    /// The host is out of reach from the moment that it has a new network, for that long.
    void lose_member_for(Duration time, const std::shared_ptr<SimPool::Pending>& pending) {
        pool().until([&] { return lost_; });
        pool().pass(time);
        EXPECT_FALSE(pending->done);
        pool().on_moment = nullptr;
        sim_.cut(0, false);
        pool().until([&] { return pending->done; });
    }

    std::shared_ptr<SimPool::Pending> start_and_lose(const std::string& method,
                                                     std::vector<Value> args) {
        pool().on_moment = [this](int, const std::string& moment) {
            if (moment != "network_apply/answered" || lost_) return;
            lost_ = true;
            sim_.cut(0, true);
        };
        return pool().start(method, std::move(args));
    }

    SimMembers sim_;
    bool lost_ = false;
};

TEST_F(Management, moves_to_an_interface_that_has_an_address) {
    const Ref<Host> member = sim_.row(0);
    const Ref<Pif> card = card_of(member);
    const Ref<Pif> bare = vlan_of(member, "");
    EXPECT_EQ(code("host.management_reconfigure", {of(bare)}), "PIF_HAS_NO_NETWORK_CONFIGURATION");
    EXPECT_EQ(configure(bare, "192.0.2.7"), "success");
    EXPECT_EQ(address_of(member), "10.0.0.2");
    EXPECT_EQ(code("host.management_reconfigure", {of(bare)}), "success");
    EXPECT_TRUE(row(bare).management);
    EXPECT_FALSE(row(card).management);
    EXPECT_EQ(address_of(member), "192.0.2.7");
    EXPECT_EQ(code("PIF.unplug", {of(bare)}), "PIF_IS_MANAGEMENT_INTERFACE");
    EXPECT_EQ(code("host.reset_networking", {of(member)}), "PIF_IS_MANAGEMENT_INTERFACE");
    // Its new address is what counts, after a start of all daemons too.
    const auto killed = spawn(pool().loop, "kill", sim_.nodes[0]->host->kill());
    pool().until([&] { return killed->finished(); });
    const auto started = spawn(pool().loop, "start", sim_.nodes[0]->host->start());
    pool().until([&] { return started->finished() && sim_.is_ready(0); });
    EXPECT_TRUE(row(bare).management);
    EXPECT_EQ(address_of(member), "192.0.2.7");
    EXPECT_EQ(code("host.management_reconfigure", {of(card)}), "success");
    EXPECT_EQ(address_of(member), "10.0.0.2");
    EXPECT_EQ(code("host.reset_networking", {of(member)}), "success");
    EXPECT_EQ(pool().db().find(bare), nullptr);
    EXPECT_EQ(address_of(member), "10.0.0.2");
}

TEST_F(Management, a_host_that_is_not_reached_any_more_takes_the_change_back) {
    const Ref<Host> member = sim_.row(0);
    const Ref<Pif> vlan = vlan_of(member, "192.0.2.7");
    const auto pending = start_and_lose("host.management_reconfigure", {of(vlan)});
    lose_member_for(std::chrono::seconds(70), pending);
    EXPECT_EQ(code_of(pending->failure), "PIF_CONFIGURATION_ERROR");
    EXPECT_FALSE(row(vlan).management);
    EXPECT_TRUE(row(card_of(member)).management);
    EXPECT_EQ(address_of(member), "10.0.0.2");
    pool().until([&] { return sim_.is_ready(0); });
    EXPECT_EQ(code("host.management_reconfigure", {of(vlan)}), "success") << "nothing is left";
}

TEST_F(Management, a_host_that_comes_back_in_time_keeps_the_change) {
    const Ref<Host> member = sim_.row(0);
    const auto pending = start_and_lose("PIF.reconfigure_ip",
                                        {of(card_of(member)), Value("Static"), Value("10.0.0.77"),
                                         Value("255.255.255.0"), Value(""), Value("")});
    lose_member_for(std::chrono::seconds(20), pending);
    EXPECT_EQ(code_of(pending->failure), "success");
    EXPECT_EQ(row(card_of(member)).IP, "10.0.0.77");
    EXPECT_EQ(address_of(member), "10.0.0.77");
    pool().pass(std::chrono::minutes(2));
    const auto have = spawn(pool().loop, "look", [](SimPool& all, Ref<Host> host) -> Task<void> {
        const auto found = co_await all.xapi->core().hosts->agent(host).network_state({});
        bool there = false;
        for (const agent::BridgeHave& bridge : found.bridges)
            there = there || bridge.address == "10.0.0.77/24";
        EXPECT_TRUE(there);
    }(pool(), member));
    pool().until([&] { return have->finished(); });
}

TEST_F(Management, the_coordinator_stays_where_its_members_call_it) {
    const Ref<Host> leader = pool().xapi->core().this_host;
    const Ref<Pif> vlan = vlan_of(leader, "192.0.2.9");
    EXPECT_EQ(code("host.management_reconfigure", {of(vlan)}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.management_disable"), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("pool.management_reconfigure", {of(row(vlan).network)}),
              "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.sync_vlans", {of(sim_.row(0))}), "success");
    EXPECT_EQ(pool().db().get(row(vlan).network).PIFs.size(), 2U);
    EXPECT_EQ(code("host.sync_vlans", {of(sim_.row(0))}), "success") << "nothing is missing";
    EXPECT_EQ(pool().db().get(row(vlan).network).PIFs.size(), 2U);
}

TEST(ManagementAlone, is_switched_off_and_on_again) {
    SimPool pool(3);
    const auto code = [&](const std::string& method, std::vector<Value> args) {
        return code_of([&] { pool.call(method, std::move(args)); });
    };
    const Ref<Host> host = pool.xapi->core().this_host;
    const Ref<Pif> card = pool.db().get(host).PIFs.front();
    EXPECT_EQ(code("host.management_disable", {}), "success");
    EXPECT_FALSE(pool.db().get(card).management);
    EXPECT_EQ(pool.db().get(host).address, "");
    pool.crash_xapi();
    pool.until([&] { return pool.is_ready(0); });
    EXPECT_EQ(pool.db().get(host).address, "") << "only a call gives it back";
    EXPECT_EQ(code("host.reset_networking", {of(host)}), "HOST_HAS_NO_MANAGEMENT_IP");
    EXPECT_EQ(code("host.local_management_reconfigure", {Value("eth7")}), "INVALID_VALUE");
    EXPECT_EQ(code("host.local_management_reconfigure", {Value("eth0")}), "success");
    EXPECT_TRUE(pool.db().get(card).management);
    EXPECT_EQ(pool.db().get(host).address, "10.0.0.1");
    EXPECT_EQ(code("pool.management_reconfigure", {of(pool.db().get(card).network)}), "success");
}

TEST(ManagementAlone, interfaces_have_addresses_of_both_families) {
    SimPool pool(4);
    const Ref<Pif> card = pool.db().get(pool.xapi->core().this_host).PIFs.front();
    const auto set6 = [&](const char* mode, const char* address, const char* gateway) {
        return code_of([&] {
            pool.call("PIF.reconfigure_ipv6",
                      {of(card), Value(mode), Value(address), Value(gateway), Value("")});
        });
    };
    EXPECT_EQ(set6("Static", "fd00::2", ""), "INVALID_CIDR_ADDRESS_SPECIFIED");
    EXPECT_EQ(set6("Static", "10.0.0.2/24", ""), "INVALID_CIDR_ADDRESS_SPECIFIED");
    EXPECT_EQ(set6("Static", "fd00::2/64", "10.0.0.1"), "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(set6("DHCP", "", ""), "success");
    EXPECT_EQ(pool.db().get(card).ipv6_configuration_mode, xenapi::Ipv6ConfigurationMode::dhcp);
    pool.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(set6("Static", "fd00::2/64", "fd00::1"), "INTERNAL_ERROR");
    EXPECT_TRUE(pool.db().get(card).IPv6.empty());
    EXPECT_EQ(set6("Static", "fd00::2/64", "fd00::1"), "success");
    EXPECT_EQ(pool.db().get(card).IPv6, std::vector<std::string>{"fd00::2/64"});
    EXPECT_EQ(pool.db().get(card).ipv6_gateway, "fd00::1");
    pool.call("PIF.set_primary_address_type", {of(card), Value("IPv6")});
    EXPECT_EQ(set6("None", "", ""), "PIF_IS_MANAGEMENT_INTERFACE");
    EXPECT_EQ(set6("Static", "fd00::3/64", ""), "success");
    EXPECT_EQ(pool.db().get(pool.xapi->core().this_host).address, "fd00::3");

    const auto set = [&](const char* name, const char* value) {
        return code_of(
            [&] { pool.call("PIF.set_property", {of(card), Value(name), Value(value)}); });
    };
    EXPECT_EQ(set("gro", "perhaps"), "INVALID_VALUE");
    EXPECT_EQ(set("speed", "on"), "INVALID_VALUE");
    EXPECT_EQ(set("gro", "off"), "success");
    EXPECT_EQ(pool.db().get(card).properties.get(std::string("gro")), "off");
}

}  // namespace
}  // namespace basalt::testing
