#include "host-agent/core/guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace basalt::agent {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string uuid = "5c0ffee0-0000-4000-8000-000000000001";
const std::string long_text(20000, 'x');

// A boot folder with a kernel, and links that lead out of it and within it.
class BootFolder {
  public:
    BootFolder() {
        std::string pattern = "/tmp/guard.XXXXXX";
        root_ = ::mkdtemp(pattern.data());
        fs::create_directories(root_ / "boot/old");
        fs::create_directories(root_ / "boots");
        for (const char* file : {"boot/vmlinuz", "boot/old/initrd", "boots/vmlinuz", "secret"})
            std::ofstream(root_ / file) << file;
        fs::create_symlink("../secret", root_ / "boot/leading-out");
        fs::create_symlink("old/initrd", root_ / "boot/leading-in");
        fs::create_symlink("/nowhere", root_ / "boot/leading-nowhere");
    }

    BootFolder(const BootFolder&) = delete;
    BootFolder& operator=(const BootFolder&) = delete;

    ~BootFolder() { fs::remove_all(root_); }

    [[nodiscard]] std::string boot() const { return (root_ / "boot").string(); }

  private:
    fs::path root_;
};

const BootFolder& folder() {
    static const BootFolder made;
    return made;
}

Json disk_ref() {
    return {{"sr", uuid}, {"vdi", uuid}, {"location", "debian 13.iso"}};
}

Json plug() {
    return {{"vbd", uuid},    {"device", "xvda"}, {"position", 0},     {"kind", "disk"},
            {"access", "rw"}, {"bootable", true}, {"disk", disk_ref()}};
}

Json nic() {
    return {{"vif", uuid},         {"device", 0},    {"mac", "02:00:00:00:00:0a"},
            {"bridge", "xenbr0"},  {"mtu", 1500},    {"ipv4", {"192.0.2.7"}},
            {"ipv6", {"fe80::1"}}, {"locked", true}, {"disabled", false}};
}

Json vm_spec() {
    return {{"uuid", uuid},
            {"name", "any \"name\" <at> all\n"},
            {"memory_bytes", 1 << 28},
            {"vcpus", 1},
            {"vcpus_max", 2},
            {"boot",
             {{"kind", "kernel"},
              {"kernel", folder().boot() + "/vmlinuz"},
              {"ramdisk", folder().boot() + "/leading-in"},
              {"args", "console=ttyS0 quiet"},
              {"firmware", "bios"},
              {"order", "cdn"}}},
            {"disks", Json::array({plug()})},
            {"memory_target_bytes", 1 << 27},
            {"cpu", {{"weight", 512}, {"cap_percent", 50}, {"mask", {0, 1}}}},
            {"seed", {{"label", "cidata"}, {"files", {{"user-data", "#cloud-config\n"}}}}},
            {"bios_strings", {{"bios-vendor", "Any, Inc."}}},
            {"xenstore", {{"vm-data/net/0", "10.0.0.1/24"}}},
            {"nics", Json::array({nic()})}};
}

Json vdi_spec() {
    return {{"uuid", uuid}, {"size_bytes", 1 << 20}, {"name", "disk"}, {"type", "user"}};
}

Json bridge() {
    return {{"name", "xapi7"},
            {"uplink", "bond0"},
            {"vlan_parent", "xenbr0"},
            {"vlan_tag", 7},
            {"mtu", 9000},
            {"address", "192.0.2.1/24"},
            {"gateway", "192.0.2.254"},
            {"dns", {"192.0.2.53", "2001:db8::53"}},
            {"mac", "02:00:00:00:00:01"}};
}

Json usb() {
    return {{"vusb", uuid}, {"path", "1-2.3"}, {"vendor_id", "0781"}, {"product_id", "5591"}};
}

// What an honest xapi asks for, one of each.
std::map<std::string, Json> honest() {
    const Json vm = {{"uuid", uuid}};
    const Json sr = {{"uuid", uuid},
                     {"type", "file"},
                     {"device_config", {{"location", "/srv/sr"}, {"options", "ro,timeo=20"}}}};
    const Json disk = {{"disk", disk_ref()}};
    const Json state = {{"vm", uuid}, {"kind", "tpm"}};
    const Json figures = {{"owner", "vm"}, {"uuid", uuid}};
    const auto with = [](Json base, const Json& more) {
        base.update(more);
        return base;
    };
    return {
        {"hello", {{"xapi_version", "1"}}},
        {"host_facts", Json::object()},
        {"host_time", Json::object()},
        {"host_console_open", Json::object()},
        {"host_power", {{"act", "reboot"}}},
        {"host_change", {{"change", {{"hostname", "host-1"}, {"ssh_enabled", true}}}}},
        {"host_clock", Json::object()},
        {"host_timezones", Json::object()},
        {"host_log", {{"log", "kernel"}, {"clear", false}}},
        {"host_bundle", {{"entries", Json::array()}, {"format", "tar"}}},
        {"account", {{"who", "root"}}},
        {"has_extension", {{"name", "Ping.pong"}}},
        {"extension_call", {{"name", "Ping.pong"}, {"request", "<methodCall/>"}}},
        {"storage_drivers", Json::object()},
        {"domains", Json::object()},
        {"network_state", Json::object()},
        {"acknowledge", {{"operations", {"a", "b"}}}},
        {"resolve", {{"term", 7}}},
        {"login", {{"user", "root"}, {"password", "any\nthing"}, {"address", "192.0.2.9"}}},
        {"change_password", {{"user", "root"}, {"old", "a"}, {"new", "b"}}},
        {"plugin_call", {{"plugin", "perfmon.py"}, {"function", "main"}, {"args", {{"k", "v"}}}}},
        {"vm_start", {{"spec", vm_spec()}, {"paused", false}}},
        {"vm_shutdown", with(vm, {{"method", "clean"}, {"timeout_seconds", 60}})},
        {"vm_reboot", with(vm, {{"method", "hard"}, {"spec", vm_spec()}})},
        {"vm_pause", vm},
        {"vm_unpause", vm},
        {"vm_suspend", with(vm, {{"into", disk_ref()}})},
        {"vm_resume", {{"spec", vm_spec()}, {"from", disk_ref()}}},
        {"vm_set_memory", with(vm, {{"target_bytes", 1 << 27}})},
        {"vm_set_vcpus", with(vm, {{"count", 2}})},
        {"vm_set_cpu", with(vm, {{"cpu", {{"weight", 1}, {"cap_percent", 0}, {"mask", {3}}}}})},
        {"vm_signal", with(vm, {{"signal", "sysrq"}, {"key", "b"}})},
        {"vm_purge", vm},
        {"state_get", state},
        {"state_put", with(state, {{"contents", "AAAA"}, {"tag", "0f"}})},
        {"state_told", with(state, {{"digest", "0f"}, {"tag", ""}})},
        {"states_changed", Json::object()},
        {"disk_plug", with(vm, {{"disk", plug()}})},
        {"disk_unplug", with(vm, {{"device", "xvdb"}, {"force", true}})},
        {"disk_insert", with(vm, {{"device", "xvdd"}, {"disk", disk_ref()}})},
        {"disk_eject", with(vm, {{"device", "xvdd"}})},
        {"nic_plug", with(vm, {{"nic", nic()}})},
        {"nic_change", with(vm, {{"nic", nic()}})},
        {"nic_unplug", with(vm, {{"device", 1}, {"force", false}})},
        {"usb_devices", Json::object()},
        {"pci_devices", Json::object()},
        {"pci_hiding", Json::object()},
        {"pci_hide", {{"address", "0000:3b:00.1"}, {"hidden", true}}},
        {"pci_functions", {{"address", "0000:3b:00.1"}, {"enabled", true}}},
        {"usb_plug", with(vm, {{"usb", usb()}})},
        {"usb_unplug", with(vm, {{"vusb", uuid}})},
        {"console_open", with(vm, {{"kind", "serial"}})},
        {"sr_probe", {{"type", "ext"}, {"device_config", {{"device", "/dev/sdb"}}}}},
        {"sr_create", with(sr, {{"size_bytes", 0}})},
        {"sr_attach", sr},
        {"sr_destroy", {{"uuid", uuid}}},
        {"sr_detach", {{"uuid", uuid}}},
        {"sr_stat", {{"uuid", uuid}}},
        {"sr_scan", {{"uuid", uuid}}},
        {"vdi_create", {{"sr", uuid}, {"spec", vdi_spec()}}},
        {"vdi_destroy", disk},
        {"vdi_snapshot", with(disk, {{"spec", vdi_spec()}, {"live_in", ""}})},
        {"vdi_clone", with(disk, {{"spec", vdi_spec()}})},
        {"vdi_revert", with(disk, {{"snapshot", disk_ref()}})},
        {"vdi_copy", with(disk, {{"sr", uuid}, {"spec", vdi_spec()}, {"base", disk_ref()}})},
        {"vdi_resize", with(disk, {{"size_bytes", 4096}, {"live_in", uuid}})},
        {"vdi_open", with(disk, {{"access", "ro"}})},
        {"vdi_export", with(disk, {{"format", "vhd"}, {"base", disk_ref()}})},
        {"vdi_import", with(disk, {{"format", "vhd"}})},
        {"vdi_changes", with(disk, {{"base", disk_ref()}, {"offset", 65536}, {"length", 65536}})},
        {"metrics_updates",
         {{"start", 1700000000},
          {"interval", 5},
          {"fold", "AVERAGE"},
          {"vms", Json::array({uuid})},
          {"srs", Json::array({uuid})}}},
        {"metrics_whole", figures},
        {"metrics_sources", with(figures, {{"name", "cpu0"}})},
        {"metrics_record", with(figures, {{"name", "cpu0"}, {"recorded", true}})},
        {"metrics_drop", figures},
        {"metrics_take", with(vm, {{"first", 0}})},
        {"metrics_give", with(vm, {{"data", "00ff"}})},
        {"metrics_save", Json::object()},
        {"metrics_settings", {{"extremes", true}}},
        {"metrics_means", with(figures, {{"seconds", 60}})},
        {"metrics_tell", {{"values", {{"pool_task_count", 3.0}}}}},
        {"host_debug_keys", {{"keys", "q"}}},
        {"network_apply",
         {{"want", {{"bridges", Json::array({bridge()})}, {"managers", {"ssl:[fd00::7]:6632"}}}},
          {"management", "xenbr0"},
          {"confirm", "c1"},
          {"confirm_seconds", 60}}},
        {"network_keep", {{"confirm", "c1"}}},
    };
}

std::string code_of(const std::string& verb, const Json& args) {
    try {
        Guard(folder().boot()).check(verb, args);
    } catch (const ApiError& error) {
        return error.code();
    }
    return "";
}

TEST(Guard, lets_pass_what_an_honest_xapi_asks) {
    for (const auto& [verb, args] : honest())
        EXPECT_EQ(code_of(verb, args), "") << verb;
}

// The lines `NAME = {` below [verb] in the file that all of them come from.
std::vector<std::string> verb_names() {
    std::vector<std::string> out;
    std::ifstream in("host-agent/api/verbs.toml");
    bool verbs = false;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("[")) verbs = line == "[verb]";
        const auto end = line.find(" = {");
        if (verbs && end != std::string::npos && !line.starts_with("#"))
            out.push_back(line.substr(0, end));
    }
    return out;
}

TEST(Guard, knows_every_verb) {
    const auto known = honest();
    for (const std::string& verb : verb_names())
        EXPECT_TRUE(known.contains(verb)) << verb << " needs a row here and in the guard";
    EXPECT_EQ(known.size(), verb_names().size());
    EXPECT_EQ(code_of("format_the_host", Json::object()), "INTERNAL_ERROR");
}

TEST(Guard, a_copy_goes_into_a_disk_or_into_an_sr) {
    Json args = {{"disk", disk_ref()}, {"into", disk_ref()}, {"sr", ""}, {"spec", Json::object()}};
    EXPECT_EQ(code_of("vdi_copy", args), "");
    args["into"]["location"] = "../other";
    EXPECT_EQ(code_of("vdi_copy", args), "INVALID_VALUE");
    args["into"] = nullptr;
    EXPECT_EQ(code_of("vdi_copy", args), "UUID_INVALID");
}

// Each place where a uuid is expected, in every verb.
TEST(Guard, takes_nothing_else_for_a_uuid) {
    const std::vector<std::string> hostile = {"",
                                              "../../etc",
                                              "/etc/passwd",
                                              uuid + "/..",
                                              uuid + "\n",
                                              "-" + uuid.substr(1),
                                              uuid + std::string(1, '\0'),
                                              "5c0ffee0000040008000000000000001",
                                              long_text};
    int places = 0;
    for (const auto& [verb, args] : honest()) {
        const Json flat = args.flatten();
        for (const auto& [where, value] : flat.items()) {
            if (value != uuid) continue;
            ++places;
            for (const std::string& word : hostile) {
                // Optional: empty says that the caller has none.
                if (word.empty() && (where == "/live_in" || where == "/spec/uuid") &&
                    verb.starts_with("vdi_"))
                    continue;
                Json bad = args;
                bad[Json::json_pointer(where)] = word;
                EXPECT_EQ(code_of(verb, bad), "UUID_INVALID") << verb << where << " " << word;
            }
        }
    }
    EXPECT_GT(places, 60);
}

struct Hostile {
    const char* verb;
    const char* where;
    Json value;
    const char* code;
};

void PrintTo(const Hostile& one, std::ostream* out) {
    *out << one.verb << one.where << " " << one.value.dump().substr(0, 60);
}

class Refuses : public testing::TestWithParam<Hostile> {};

TEST_P(Refuses, what_is_not_of_its_kind) {
    Json args = honest().at(GetParam().verb);
    args[Json::json_pointer(GetParam().where)] = GetParam().value;
    EXPECT_EQ(code_of(GetParam().verb, args), GetParam().code);
}

std::string under_boot(const char* name) {
    return folder().boot() + name;
}

INSTANTIATE_TEST_SUITE_P(
    Boot, Refuses,
    testing::Values(
        Hostile{"vm_start", "/spec/boot/kernel", "/etc/shadow", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/bootloader", "/bin/sh", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/bootloader_args", Json::array({"--output=/etc/passwd"}),
                "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/bootloader_args", Json::array({"--entry=1\n"}),
                "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", "", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", "vmlinuz", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot("/leading-out"), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot("/leading-nowhere"), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot("/../secret"), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot("s/vmlinuz"), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot("/old"), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/kernel", under_boot(""), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/ramdisk", under_boot("/leading-out"), "INVALID_VALUE"},
        Hostile{"vm_resume", "/spec/boot/kernel", "/etc/shadow", "INVALID_VALUE"},
        Hostile{"vm_reboot", "/spec/boot/kernel", "/etc/shadow", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/args", "quiet\n-monitor stdio", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/args", long_text, "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/boot/order", "c,menu=on", "INVALID_VALUE"}));

INSTANTIATE_TEST_SUITE_P(
    Guests, Refuses,
    testing::Values(Hostile{"state_put", "/tag", "a/../b", "INVALID_VALUE"},
                    Hostile{"state_put", "/tag", "two words", "INVALID_VALUE"},
                    Hostile{"state_put", "/contents", std::string(1 << 20, 'A'), "INVALID_VALUE"},
                    Hostile{"state_get", "/kind", "disk", "INTERNAL_ERROR"},
                    Hostile{"state_told", "/digest", "0f\n0f", "INVALID_VALUE"},
                    Hostile{"vdi_revert", "/snapshot/location", "../other", "INVALID_VALUE"},
                    Hostile{"nic_plug", "/nic/trunks", Json::array({10, 4095}), "VLAN_TAG_INVALID"},
                    Hostile{"vm_start", "/spec/memory_bytes", 0, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/memory_bytes", -1, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/memory_bytes", INT64_MAX, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/vcpus", -1, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/vcpus", 3, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/vcpus_max", 1000000, "INVALID_VALUE"},
                    Hostile{"vm_start", "/spec/memory_bytes", "much", "INTERNAL_ERROR"},
                    Hostile{"vm_start", "/spec", "all", "UUID_INVALID"},
                    Hostile{"vm_start", "/spec/disks/0/device", "../xvda", "INVALID_DEVICE"},
                    Hostile{"vm_start", "/spec/disks/0/device", "xvda,file=/etc/shadow",
                            "INVALID_DEVICE"},
                    Hostile{"vm_start", "/spec/disks/0/device", "", "INVALID_DEVICE"},
                    Hostile{"vm_start", "/spec/disks/0/position", -1, "INVALID_DEVICE"},
                    Hostile{"disk_unplug", "/device", "a/b", "INVALID_DEVICE"},
                    Hostile{"disk_eject", "/device", "-x", "INVALID_DEVICE"},
                    Hostile{"disk_insert", "/device", std::string("xvd\0", 4), "INVALID_DEVICE"},
                    Hostile{"vm_shutdown", "/timeout_seconds", -5, "INVALID_VALUE"}));

INSTANTIATE_TEST_SUITE_P(
    LiveChanges, Refuses,
    testing::Values(
        Hostile{"vm_start", "/spec/memory_target_bytes", 1 << 29, "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/memory_target_bytes", -1, "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/cpu/weight", 65536, "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/cpu/mask/0", -1, "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/bios_strings/bios-vendor", "a\nb", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/xenstore", Json({{"memory/target", "1"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/xenstore", Json({{"vm-data//x", "1"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/xenstore", Json({{"vm-data/x/", "1"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/xenstore", Json({{"vm-data/../x", "1"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/xenstore", Json({{"vm-data/x", std::string(2049, 'x')}}),
                "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/seed/label", "-v", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/seed/label", "a label", "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/seed/files", Json({{"../x", "y"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/seed/files", Json({{"-i", "y"}}), "INVALID_VALUE"},
        Hostile{"vm_start", "/spec/seed/files", Json({{"a", std::string(300000, 'x')}}),
                "INVALID_VALUE"},
        Hostile{"vm_set_memory", "/target_bytes", 0, "INVALID_VALUE"},
        Hostile{"vm_set_vcpus", "/count", 0, "INVALID_VALUE"},
        Hostile{"vm_set_cpu", "/cpu/cap_percent", -1, "INVALID_VALUE"},
        Hostile{"vm_signal", "/key", "bb", "INVALID_VALUE"},
        Hostile{"vm_signal", "/key", "\n", "INVALID_VALUE"},
        Hostile{"vm_signal", "/signal", "explode", "INTERNAL_ERROR"}));

INSTANTIATE_TEST_SUITE_P(
    Networks, Refuses,
    testing::Values(
        Hostile{"nic_plug", "/nic/mac", "", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "02:00:00:00:00", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "02-00-00-00-00-01", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "01:00:5e:00:00:01", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "ff:ff:ff:ff:ff:ff", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "02:00:00:00:00:0g", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/mac", "02:00:00:00:00:01,actions=normal", "MAC_INVALID"},
        Hostile{"nic_plug", "/nic/device", -1, "INVALID_DEVICE"},
        Hostile{"nic_plug", "/nic/device", 1 << 20, "INVALID_DEVICE"},
        Hostile{"nic_plug", "/nic/bridge", "", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"nic_plug", "/nic/bridge", "../xenbr0", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"nic_plug", "/nic/bridge", "..", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"nic_plug", "/nic/bridge", "sixteen-letters-", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"nic_plug", "/nic/bridge", "br 0", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"nic_plug", "/nic/mtu", 67, "INVALID_VALUE"},
        Hostile{"nic_plug", "/nic/mtu", 65536, "INVALID_VALUE"},
        Hostile{"nic_plug", "/nic/ipv4/0", "192.0.2.300", "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"nic_plug", "/nic/ipv4/0", "fe80::1", "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"nic_plug", "/nic/ipv4/0", "192.0.2.1,actions=normal",
                "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"nic_plug", "/nic/ipv6/0", "fe80::1/64", "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"vm_start", "/spec/nics/0/mac", "", "MAC_INVALID"},
        Hostile{"usb_plug", "/usb/vusb", "x", "UUID_INVALID"},
        Hostile{"usb_plug", "/usb/path", "../1-2", "INVALID_DEVICE"},
        Hostile{"usb_plug", "/usb/path", "1-2/x", "INVALID_DEVICE"},
        Hostile{"usb_plug", "/usb/path", "", "INVALID_DEVICE"},
        Hostile{"usb_plug", "/usb/vendor_id", "07", "INVALID_VALUE"},
        Hostile{"usb_plug", "/usb/product_id", "../x", "INVALID_VALUE"},
        Hostile{"usb_unplug", "/vusb", "../x", "UUID_INVALID"},
        Hostile{"network_apply", "/want/managers/0", "unix:/run/x", "INVALID_VALUE"},
        Hostile{"network_apply", "/want/managers/0", "ssl:host:6632", "INVALID_VALUE"},
        Hostile{"network_apply", "/want/managers/0", "pssl:6640,x", "INVALID_VALUE"},
        Hostile{"network_apply", "/want/bridges/0/name", "-all", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"network_apply", "/want/bridges/0/uplink", "eth0/x", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"network_apply", "/want/bridges/0/vlan_parent", "a b", "BRIDGE_NOT_AVAILABLE"},
        Hostile{"network_apply", "/want/bridges/0/vlan_tag", 4095, "VLAN_TAG_INVALID"},
        Hostile{"network_apply", "/want/bridges/0/vlan_tag", -1, "VLAN_TAG_INVALID"},
        Hostile{"network_apply", "/want/bridges/0/address", "any/24",
                "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"network_apply", "/want/bridges/0/gateway", "192.0.2.1 dev eth0",
                "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"network_apply", "/want/bridges/0/dns/0", "192.0.2.1\noptions debug",
                "INVALID_IP_ADDRESS_SPECIFIED"},
        Hostile{"network_apply", "/want/bridges/0/mac", "none", "MAC_INVALID"}));

INSTANTIATE_TEST_SUITE_P(
    Storage, Refuses,
    testing::Values(
        Hostile{"vdi_destroy", "/disk/location", "../../etc/shadow", "INVALID_VALUE"},
        Hostile{"vdi_destroy", "/disk/location", "..", "INVALID_VALUE"},
        Hostile{"vdi_destroy", "/disk/location", ".lock", "INVALID_VALUE"},
        Hostile{"vdi_destroy", "/disk/location", "-rf", "INVALID_VALUE"},
        Hostile{"vdi_destroy", "/disk/location", std::string("a\0b", 3), "INVALID_VALUE"},
        Hostile{"vm_suspend", "/into/location", "/dev/sda", "INVALID_VALUE"},
        Hostile{"sr_attach", "/type", "../file", "SR_UNKNOWN_DRIVER"},
        Hostile{"sr_attach", "/type", "", "SR_UNKNOWN_DRIVER"},
        Hostile{"sr_probe", "/type", "file;reboot", "SR_UNKNOWN_DRIVER"},
        Hostile{"sr_attach", "/device_config/location", "-oremount,rw", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/location", "/srv\n/etc", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/location", long_text, "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/options", "ro,suid", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/options", "dev", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/options", "exec,ro", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/options", "ro,,soft", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config/options", "key=/etc/passwd", "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config", Json{{"a b", "c"}}, "INVALID_VALUE"},
        Hostile{"sr_attach", "/device_config", Json::array({1}), "INTERNAL_ERROR"},
        Hostile{"sr_create", "/size_bytes", -1, "INVALID_VALUE"},
        Hostile{"vdi_create", "/spec/size_bytes", -4096, "INVALID_VALUE"},
        Hostile{"vdi_create", "/spec/size_bytes", INT64_MAX, "INVALID_VALUE"},
        Hostile{"vdi_create", "/spec/name", "a\nb", "INVALID_VALUE"},
        Hostile{"vdi_resize", "/size_bytes", 0, "INVALID_VALUE"},
        Hostile{"vdi_export", "/format", "luks", "INVALID_VALUE"},
        Hostile{"vdi_export", "/base/location", "/dev/sda", "INVALID_VALUE"},
        Hostile{"vdi_changes", "/offset", -65536, "INVALID_VALUE"},
        Hostile{"vdi_changes", "/offset", 1, "INVALID_VALUE"},
        Hostile{"vdi_changes", "/length", std::int64_t{1} << 40, "INVALID_VALUE"},
        Hostile{"vdi_import", "/format", "qcow2,backing_file=/etc/shadow", "INVALID_VALUE"}));

INSTANTIATE_TEST_SUITE_P(
    Services, Refuses,
    testing::Values(
        Hostile{"plugin_call", "/plugin", "../../bin/sh", "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/plugin", "/bin/sh", "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/plugin", "..", "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/plugin", ".hidden", "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/plugin", "", "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/plugin", std::string("x\0y", 3), "XENAPI_MISSING_PLUGIN"},
        Hostile{"plugin_call", "/function", "a\nb", "INVALID_VALUE"},
        Hostile{"login", "/user", "", "SESSION_AUTHENTICATION_FAILED"},
        Hostile{"login", "/user", "root\nroot", "SESSION_AUTHENTICATION_FAILED"},
        Hostile{"login", "/user", std::string("root\0x", 6), "SESSION_AUTHENTICATION_FAILED"},
        Hostile{"login", "/address", "::1\n", "SESSION_AUTHENTICATION_FAILED"},
        Hostile{"change_password", "/user", "a\tb", "SESSION_AUTHENTICATION_FAILED"},
        Hostile{"resolve", "/term", -1, "INVALID_VALUE"},
        Hostile{"acknowledge", "/operations/0", "a\nb", "INVALID_VALUE"},
        Hostile{"hello", "/xapi_version", "1\nready", "INVALID_VALUE"}));

}  // namespace
}  // namespace basalt::agent
