#include "host-agent/services/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace basalt::agent {
namespace {

const std::string whole = R"(
[host]
uuid = "5b4c7c0e-9a53-4f1b-8f0e-3b3f8d7a1c11"
hostname = "host1"
address = "10.77.0.1/24"
gateway = "10.77.0.254"
dns = ["10.77.0.2", "10.77.0.3"]
management = "eth1"
state = "/var/lib/basalt"
[hostd]
socket = "/run/x.sock"
backend = "sim"
sim_memory_bytes = 34359738368
ovs_datapath = "netdev"
xapi_uid = 4210
[storage]
local_sr = "/dev/sr"
local_sr_type = "xfs"
[xapi]
anything = [1, 2]
)";

std::string refusal(const std::string& text) {
    try {
        (void)parse_config(text, "host.toml");
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "accepted";
}

TEST(Config, reads_its_sections_and_leaves_others) {
    const Config config = parse_config(whole, "host.toml");
    EXPECT_EQ(config.host.hostname, "host1");
    EXPECT_EQ(config.host.address, "10.77.0.1/24");
    EXPECT_EQ(config.host.gateway, "10.77.0.254");
    EXPECT_THAT(config.host.dns, testing::ElementsAre("10.77.0.2", "10.77.0.3"));
    EXPECT_EQ(config.host.management, "eth1");
    EXPECT_EQ(config.hostd.socket, "/run/x.sock");
    EXPECT_EQ(config.hostd.backend, "sim");
    EXPECT_EQ(config.hostd.sim_memory_bytes, std::int64_t{32} << 30);
    EXPECT_EQ(config.hostd.pam_service, "xapi");
    EXPECT_EQ(config.hostd.xapi_uid, 4210);
    ASSERT_TRUE(config.storage.local_sr);
    EXPECT_EQ(config.storage.local_sr->type, "xfs");
    EXPECT_EQ(config.storage.local_sr->location, "/dev/sr");
    std::string text = whole;
    text.erase(text.find("local_sr_type"), 22);
    EXPECT_EQ(parse_config(text, "host.toml").storage.local_sr->type, "file");
    EXPECT_THAT(config.unknown, testing::IsEmpty());
}

TEST(Config, errors_name_the_key) {
    EXPECT_EQ(refusal("[host]\n"), "host.toml: host.uuid is missing");
    EXPECT_EQ(refusal("[host]\nuuid = 7\n"), "host.toml:2: host.uuid is not a text");
    EXPECT_EQ(refusal("[host]\nuuid = 'x'\n"), "host.toml: host.uuid is not a uuid: x");
    EXPECT_EQ(refusal("host = 1\n"), "host.toml:1: host is not a section");
    EXPECT_THAT(refusal("[host\n"), testing::StartsWith("host.toml:1: "));
    std::string text = whole;
    text.replace(text.find("\"sim\""), 5, "\"vmware\"");
    EXPECT_EQ(refusal(text), "host.toml: hostd.backend is 'vmware', not one of qemu, xen, sim");
    text = whole;
    text.replace(text.find("4210"), 4, "\"me\"");
    EXPECT_EQ(refusal(text), "host.toml:15: hostd.xapi_uid is not a whole number");
}

TEST(Config, misspelt_keys_are_told) {
    const Config config = parse_config(
        "[hostd]\nbackedn = 'sim'\n" + whole.substr(0, whole.find("[hostd]")), "host.toml");
    EXPECT_THAT(config.unknown, testing::ElementsAre("hostd.backedn"));
}

TEST(Config, the_network_backend_is_a_word_in_a_file) {
    const std::string file = testing::TempDir() + "network.conf";
    std::filesystem::remove(file);
    EXPECT_EQ(network_backend(file), "openvswitch");
    std::ofstream(file) << "bridge\n";
    EXPECT_EQ(network_backend(file), "bridge");
    std::ofstream(file) << "openvswitch";
    EXPECT_EQ(network_backend(file), "openvswitch");
    std::ofstream(file) << "carrier-pigeon\n";
    EXPECT_THROW(network_backend(file), std::invalid_argument);
}

TEST(Config, a_missing_file_is_told) {
    EXPECT_THROW(load_config("/no/such/file"), std::system_error);
}

}  // namespace
}  // namespace basalt::agent
