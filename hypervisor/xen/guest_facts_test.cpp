#include "hypervisor/xen/guest_facts.hpp"

#include <gmock/gmock.h>

namespace basalt::hv::xen {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* vm = "0b5a17c0-0001-4000-8000-00000000000a";

// As xe-guest-utilities 7.30 leaves it in a guest with Debian 12.
Nodes written_by_guest_utilities() {
    return {{"attr/PVAddons/Installed", "1"},
            {"attr/PVAddons/MajorVersion", "7"},
            {"attr/PVAddons/MinorVersion", "30"},
            {"attr/PVAddons/MicroVersion", "0"},
            {"attr/PVAddons/BuildVersion", "12"},
            {"attr/vif/0/ipv4/0", "192.0.2.7"},
            {"attr/vif/0/ipv4/1", "192.0.2.8"},
            {"attr/vif/0/ipv6/0", "fe80::a:ff"},
            {"control/feature-balloon", "1"},
            {"control/feature-poweroff", "1"},
            {"control/feature-suspend", "1"},
            {"control/shutdown", ""},
            {"data/meminfo_free", "182104"},
            {"data/meminfo_total", "246180"},
            {"data/os_distro", "debian"},
            {"data/os_majorver", "12"},
            {"data/os_minorver", "5"},
            {"data/os_name", "Debian GNU/Linux 12 (bookworm)"},
            {"data/os_uname", "6.1.0-18-amd64"},
            {"data/updated", "Mon Nov 23 12:00:00 UTC 2026"}};
}

TEST(XenGuestFacts, the_guest_utilities_are_understood) {
    const auto facts = facts_of(vm, written_by_guest_utilities(), {0, 1});
    EXPECT_EQ(facts.uuid, vm);
    EXPECT_TRUE(facts.agent);
    EXPECT_EQ(facts.agent_version, "7.30.0");
    EXPECT_THAT(facts.drivers, ElementsAre(Pair("build", "12"), Pair("major", "7"),
                                           Pair("micro", "0"), Pair("minor", "30")));
    EXPECT_THAT(facts.os,
                ElementsAre(Pair("distro", "debian"), Pair("major", "12"), Pair("minor", "5"),
                            Pair("name", "Debian GNU/Linux 12 (bookworm)"),
                            Pair("uname", "6.1.0-18-amd64")));
    EXPECT_THAT(facts.networks,
                ElementsAre(Pair("0/ip", "192.0.2.7"), Pair("0/ipv4/0", "192.0.2.7"),
                            Pair("0/ipv4/1", "192.0.2.8"), Pair("0/ipv6/0", "fe80::a:ff")));
    EXPECT_THAT(facts.features,
                ElementsAre(Pair("feature-balloon", "1"), Pair("feature-poweroff", "1"),
                            Pair("feature-suspend", "1")));
    EXPECT_EQ(facts.memory_total_bytes, std::int64_t{246180} * 1024);
    EXPECT_EQ(facts.memory_free_bytes, std::int64_t{182104} * 1024);
}

// Vates' agent never says that it is done with a round; an address that went leaves its number
// free.
TEST(XenGuestFacts, the_newer_agent_is_understood) {
    const Nodes nodes = {
        {"attr/PVAddons/MajorVersion", "1"},   {"attr/PVAddons/MinorVersion", "0"},
        {"attr/PVAddons/MicroVersion", "0"},   {"attr/PVAddons/BuildVersion", "proto"},
        {"attr/vif/2/ipv4/1", "198.51.100.4"}, {"data/os_distro", "Alpine Linux"},
        {"data/meminfo_total", "1000"}};
    const auto facts = facts_of(vm, nodes, {2});
    EXPECT_TRUE(facts.agent);
    EXPECT_EQ(facts.agent_version, "1.0.0");
    EXPECT_THAT(facts.networks,
                ElementsAre(Pair("2/ip", "198.51.100.4"), Pair("2/ipv4/0", "198.51.100.4")));
    EXPECT_EQ(facts.memory_total_bytes, 1'024'000);
    EXPECT_EQ(facts.memory_free_bytes, 0);
}

TEST(XenGuestFacts, older_keys_of_addresses_are_understood_and_said_once) {
    const Nodes nodes = {{"data/updated", "1"},
                         {"attr/eth1/ip", "203.0.113.9"},
                         {"attr/eth1/ipv6/0/addr", "2001:db8::9"},
                         {"attr/vif/1/ipv4/0", "203.0.113.9"}};
    EXPECT_THAT(facts_of(vm, nodes, {1}).networks,
                ElementsAre(Pair("1/ip", "203.0.113.9"), Pair("1/ipv4/0", "203.0.113.9"),
                            Pair("1/ipv6/0", "2001:db8::9")));
}

TEST(XenGuestFacts, a_kernel_alone_is_no_agent_but_can_be_asked) {
    const Nodes nodes = {{"control/feature-poweroff", "1"},
                         {"control/feature-reboot", "1"},
                         {"data/os_name", "made up"}};
    const auto facts = facts_of(vm, nodes, {});
    EXPECT_FALSE(facts.agent);
    EXPECT_THAT(facts.os, IsEmpty());
    EXPECT_THAT(facts.features,
                ElementsAre(Pair("feature-poweroff", "1"), Pair("feature-reboot", "1")));
}

TEST(XenGuestFacts, what_no_agent_says_is_left_out) {
    Nodes nodes = {{"data/updated", "1"},
                   {"data/os_name", std::string(256, 'x')},
                   {"data/os_distro", "a\nb"},
                   {"data/os_uname", "\xff\xfe"},
                   {"data/meminfo_total", "-5"},
                   {"data/meminfo_free", "99999999999999999999"},
                   {"attr/vif/9/ipv4/0", "192.0.2.1"},  // a NIC that it does not have
                   {"attr/vif/x/ipv4/0", "192.0.2.1"},
                   {"attr/vif/0/ipv4", "192.0.2.1"},
                   {"attr/vif/0/ipv4/0/more", "192.0.2.1"},
                   {"attr/eth/ip", "192.0.2.1"},
                   {"control/shutdown", "poweroff"},
                   {"control/feature-x", std::string(256, '1')}};
    for (int i = 0; i < 1000; ++i) {
        nodes["attr/vif/0/ipv6/" + std::to_string(i)] = "fe80::" + std::to_string(i);
        nodes["control/feature-" + std::to_string(i)] = "1";
    }
    const auto facts = facts_of(vm, nodes, {0});
    EXPECT_THAT(facts.os, IsEmpty());
    EXPECT_EQ(facts.memory_total_bytes, 0);
    EXPECT_EQ(facts.memory_free_bytes, 0);
    EXPECT_EQ(facts.networks.size(), 32U);
    EXPECT_EQ(facts.features.size(), 64U);
    EXPECT_FALSE(facts.features.contains("shutdown"));
}

}  // namespace
}  // namespace basalt::hv::xen
