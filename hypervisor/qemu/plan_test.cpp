#include "hypervisor/qemu/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/json.hpp"

namespace basalt::hv::qemu {
namespace {

using testing::Contains;
using testing::ElementsAre;

DiskAttachment disk(const std::string& device, std::int64_t position,
                    agent::DiskKind kind = agent::DiskKind::disk) {
    DiskAttachment out;
    out.spec.vbd = "vbd-of-" + device;
    out.spec.device = device;
    out.spec.position = position;
    out.spec.kind = kind;
    out.spec.access = agent::Access::rw;
    out.nbd_socket = "/run/nbd/" + device;
    out.nbd_export = "disk";
    return out;
}

NicAttachment nic(std::int64_t device) {
    NicAttachment out;
    out.spec.device = device;
    out.spec.mac = "02:00:00:00:00:0" + std::to_string(device);
    out.tap = "vif1." + std::to_string(device);
    return out;
}

DomainConfig debian() {
    DomainConfig config;
    config.spec.uuid = "0f0e0d0c-0000-0000-0000-000000000001";
    config.spec.memory_bytes = std::int64_t{512} << 20;
    config.spec.vcpus = 1;
    config.spec.vcpus_max = 2;
    config.spec.boot.kind = agent::BootKind::firmware;
    config.spec.boot.order = "dc";
    config.spec.on_reboot = agent::OnHalt::restart;
    config.disks = {disk("xvda", 0), disk("xvdd", 3, agent::DiskKind::cd)};
    config.nics = {nic(0)};
    return config;
}

const DomainPaths paths{.dir = "/run/vm/1", .nvram = "/var/nvram/1.fd"};

std::vector<std::string> planned(const DomainConfig& config, const Launch& launch = {}) {
    return plan_command_line(config, plan_machine(config, false), paths, {}, launch);
}

// The values given to an option, in order.
std::vector<std::string> values(const std::vector<std::string>& argv, const std::string& option) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i + 1 < argv.size(); ++i)
        if (argv[i] == "-" + option) out.push_back(argv[i + 1]);
    return out;
}

Json device(const std::vector<std::string>& argv, const std::string& id) {
    for (const std::string& text : values(argv, "device")) {
        const Json json = Json::parse(text);
        if (json.value("id", std::string()) == id) return json;
    }
    return {};
}

TEST(Plan, a_bios_guest_boots_its_cd_then_its_disk) {
    const auto argv = planned(debian());
    EXPECT_EQ(argv.front(), "qemu-system-x86_64");
    EXPECT_THAT(values(argv, "m"), ElementsAre("size=524288k"));
    EXPECT_THAT(values(argv, "smp"), ElementsAre("cpus=1,maxcpus=2,sockets=2,cores=1,threads=1"));
    EXPECT_THAT(values(argv, "accel"), ElementsAre("tcg,thread=multi,tb-size=64"));
    EXPECT_THAT(values(argv, "rtc"), ElementsAre("base=utc,clock=host"));
    EXPECT_THAT(values(argv, "action"),
                ElementsAre("reboot=reset,shutdown=pause,panic=pause,watchdog=reset"));
    EXPECT_EQ(argv.back(), "-S");
    const Json cd = device(argv, "vbd-xvdd");
    EXPECT_EQ(cd.at("driver"), "ide-cd");
    EXPECT_EQ(cd.at("bus"), "ide.0");
    EXPECT_EQ(cd.at("bootindex"), 1);
    const Json root = device(argv, "vbd-xvda");
    EXPECT_EQ(root.at("driver"), "virtio-blk-pci");
    EXPECT_EQ(root.at("bus"), "port-d0");
    EXPECT_EQ(root.at("bootindex"), 2);
    EXPECT_EQ(device(argv, "vif-0").at("romfile"), "");
}

TEST(Plan, disks_come_over_nbd_in_two_nodes) {
    const auto nodes = values(planned(debian()), "blockdev");
    ASSERT_EQ(nodes.size(), 4U);
    const Json connection = Json::parse(nodes[0]);
    EXPECT_EQ(connection.at("server").at("path"), "/run/nbd/xvda");
    EXPECT_EQ(connection.at("export"), "disk");
    EXPECT_EQ(connection.at("read-only"), false);
    const Json format = Json::parse(nodes[1]);
    EXPECT_EQ(format.at("file"), connection.at("node-name"));
    EXPECT_EQ(Json::parse(nodes[2]).at("read-only"), true);  // a CD always is
}

TEST(Plan, an_empty_drive_has_no_node) {
    DomainConfig config = debian();
    config.disks[1].nbd_socket.clear();
    const auto argv = planned(config);
    EXPECT_EQ(values(argv, "blockdev").size(), 2U);
    EXPECT_FALSE(device(argv, "vbd-xvdd").contains("drive"));
}

TEST(Plan, a_kernel_is_given_directly_and_nothing_else_boots) {
    DomainConfig config = debian();
    config.spec.boot = {.kind = agent::BootKind::kernel,
                        .order = "c",
                        .kernel = "/boot/vmlinuz",
                        .ramdisk = "/boot/initrd",
                        .args = "root=/dev/vda console=ttyS0,115200"};
    const auto argv = planned(config);
    // By the name under which its user can see it.
    EXPECT_THAT(values(argv, "kernel"), ElementsAre("/run/vm/1/kernel"));
    EXPECT_THAT(values(argv, "initrd"), ElementsAre("/run/vm/1/ramdisk"));
    EXPECT_THAT(values(argv, "append"), ElementsAre("root=/dev/vda console=ttyS0,115200"));
    EXPECT_FALSE(device(argv, "vbd-xvda").contains("bootindex"));
    EXPECT_TRUE(device(argv, "tablet").is_null());
}

TEST(Plan, usb_devices_of_the_host_have_a_controller_and_come_open) {
    const UsbAttachment stick{.spec = {"5c0ffee0", "1-2.3", "0781", "5591"},
                              .node = "/dev/bus/usb/001/007"};
    // Opened by its descriptor: QEMU may not open devices.
    EXPECT_EQ(usb_device(stick, 9), (Json{{"driver", "usb-host"},
                                          {"id", "usb-5c0ffee0"},
                                          {"bus", "usb.0"},
                                          {"hostdevice", "/dev/fdset/9"}}));
    DomainConfig config = debian();
    config.spec.boot = {.kind = agent::BootKind::kernel, .kernel = "/boot/vmlinuz"};
    const Machine without = plan_machine(config, false);
    EXPECT_FALSE(has_usb_controller(config.spec, without));
    EXPECT_TRUE(device(planned(config), "usb").is_null());
    config.usbs = {stick};
    const Machine machine = plan_machine(config, false);
    EXPECT_TRUE(has_usb_controller(config.spec, machine));
    EXPECT_EQ(device(planned(config), "usb").at("p2"), 8);
    EXPECT_EQ(Json(machine).get<Machine>(), machine);
    // They are plugged before the guest runs, as those that come later are.
    EXPECT_TRUE(device(planned(config), "usb-5c0ffee0").is_null());
    // A graphical guest has a controller for its pointer, with the ports that saved ones have.
    config = debian();
    EXPECT_TRUE(has_usb_controller(config.spec, plan_machine(config, false)));
    EXPECT_FALSE(device(planned(config), "usb").contains("p2"));
}

TEST(Plan, uefi_has_variables_of_its_own) {
    DomainConfig config = debian();
    config.spec.boot.firmware = agent::Firmware::uefi;
    const auto argv = planned(config);
    EXPECT_THAT(values(argv, "machine").front(),
                testing::HasSubstr("pflash0=firmware,pflash1=variables"));
    // Handed over open: the file is root's.
    EXPECT_EQ(Json::parse(values(argv, "blockdev")[1]).at("filename"), "/dev/fdset/2");
    EXPECT_THAT(values(argv, "add-fd"), Contains("fd=7,set=2,opaque=" + paths.nvram));
}

TEST(Plan, secure_boot_is_the_firmware_that_checks_and_guards_its_variables) {
    DomainConfig config = debian();
    config.spec.platform["secureboot"] = "true";
    EXPECT_FALSE(plan_machine(config, false).secure_boot);  // a BIOS has none
    config.spec.boot.firmware = agent::Firmware::uefi;
    const auto argv = planned(config);
    EXPECT_THAT(values(argv, "machine").front(), testing::HasSubstr(",smm=on"));
    EXPECT_EQ(Json::parse(values(argv, "blockdev")[0]).at("filename"),
              Installation().firmware_code_secure);
    EXPECT_THAT(values(argv, "global"), Contains("driver=cfi.pflash01,property=secure,value=on"));

    const Machine machine = plan_machine(config, false);
    EXPECT_EQ(Json(machine).get<Machine>(), machine);
    Json older = machine;
    older.erase("secure_boot");
    EXPECT_FALSE(older.get<Machine>().secure_boot);

    config.spec.platform["secureboot"] = "auto";
    EXPECT_FALSE(plan_machine(config, false).secure_boot);
    EXPECT_THAT(values(planned(config), "global"), testing::IsEmpty());
}

TEST(Plan, what_the_spec_says_about_an_end_becomes_an_action) {
    DomainConfig config = debian();
    config.spec.on_reboot = agent::OnHalt::destroy;
    EXPECT_THAT(values(planned(config), "action"),
                ElementsAre("reboot=shutdown,shutdown=pause,panic=pause,watchdog=reset"));
}

TEST(Plan, a_clock_that_is_off_starts_there) {
    DomainConfig config = debian();
    config.spec.rtc_offset_seconds = 3600;
    EXPECT_THAT(values(planned(config, {.wall_seconds = 1'700'000'000}), "rtc"),
                ElementsAre("base=2023-11-14T23:13:20,clock=host"));
}

TEST(Plan, a_name_with_a_comma_cannot_add_options) {
    DomainConfig config = debian();
    config.spec.uuid = "a,b";
    EXPECT_THAT(values(planned(config), "name"), ElementsAre("guest=a,,b,debug-threads=on"));
}

TEST(Plan, places_for_hotplug_follow_what_is_there) {
    DomainConfig config = debian();
    EXPECT_EQ(plan_machine(config, false).disk_places, 5);
    EXPECT_EQ(plan_machine(config, false).nic_places, 3);
    EXPECT_EQ(plan_machine(config, true).disk_places, 16);
    EXPECT_EQ(plan_machine(config, true).nic_places, 8);
    config.disks.push_back(disk("xvdh", 7));
    config.nics.push_back(nic(4));
    const Machine machine = plan_machine(config, false);
    EXPECT_EQ(machine.disk_places, 9);
    EXPECT_EQ(machine.nic_places, 6);
    EXPECT_THAT(machine.cd_drives, ElementsAre("xvdd"));
    const auto argv = plan_command_line(config, machine, paths, {}, {});
    EXPECT_EQ(device(argv, "port-d8").at("addr"), "0x11.0");
    EXPECT_EQ(device(argv, "port-d8").at("multifunction"), true);
    EXPECT_EQ(device(argv, "port-n5").at("addr"), "0x11.6");
    EXPECT_EQ(Json(machine).get<Machine>(), machine);
}

TEST(Plan, a_position_no_machine_has_is_refused) {
    DomainConfig config = debian();
    config.disks.push_back(disk("xvdz", 25));
    EXPECT_THROW((void)plan_machine(config, true), ApiError);
    config = debian();
    config.nics.push_back(nic(9));
    EXPECT_THROW((void)plan_machine(config, true), ApiError);
}

TEST(Plan, the_cloud_init_drive_comes_after_all_disks_and_is_never_written) {
    DomainConfig config = debian();
    EXPECT_TRUE(device(planned(config), "seed-drive").is_null());
    config.spec.seed = agent::SeedDrive{.label = "cidata", .files = {{"user-data", "x"}}};
    const auto argv = planned(config);
    EXPECT_EQ(device(argv, "seed-drive").at("bus"), "port-seed");
    EXPECT_FALSE(device(argv, "seed-drive").contains("bootindex"));
    EXPECT_THAT(values(argv, "add-fd"), Contains("fd=9,set=4,opaque=/run/vm/1/seed.img"));
    const auto blockdevs = values(argv, "blockdev");
    const auto seed = std::ranges::find_if(blockdevs, [](const std::string& text) {
        return Json::parse(text).at("node-name") == "seed";
    });
    ASSERT_NE(seed, blockdevs.end());
    EXPECT_EQ(Json::parse(*seed).at("read-only"), true);
    std::vector<std::string> ports;
    for (const std::string& text : values(argv, "device"))
        if (const Json json = Json::parse(text); json.at("driver") == "pcie-root-port")
            ports.push_back(json.at("id").get<std::string>());
    EXPECT_EQ(ports.back(), "port-seed");
    const Machine machine = plan_machine(config, false);
    EXPECT_EQ(Json(machine).get<Machine>(), machine);
    EXPECT_TRUE(machine.seed);
}

// What each key of VM.platform does to the command line.
struct PlatformCase {
    const char* key;
    const char* value;
    const char* option;
    const char* with;     // in some value of the option
    const char* without;  // in none; empty: not asked
};

void PrintTo(const PlatformCase& one, std::ostream* out) {
    *out << one.key << "=" << one.value;
}

class Platform : public testing::TestWithParam<PlatformCase> {};

TEST_P(Platform, key_is_honoured) {
    const PlatformCase& one = GetParam();
    DomainConfig config = debian();
    config.spec.vcpus_max = 4;
    config.spec.boot.firmware = agent::Firmware::uefi;
    config.spec.platform[one.key] = one.value;
    const auto argv = plan_command_line(config, plan_machine(config, true), paths, {}, {});
    const auto given = values(argv, one.option);
    EXPECT_THAT(given, Contains(testing::HasSubstr(one.with)));
    if (*one.without != 0) {
        EXPECT_THAT(given, testing::Each(testing::Not(testing::HasSubstr(one.without))));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Platform,
    testing::Values(
        PlatformCase{"nx", "true", "cpu", "host", "nx=off"},
        PlatformCase{"nx", "false", "cpu", "nx=off", ""},
        PlatformCase{"pae", "true", "cpu", "host", "pae=off"},
        PlatformCase{"pae", "0", "cpu", "pae=off,lm=off", ""},
        PlatformCase{"apic", "true", "cpu", "host", "apic=off"},
        PlatformCase{"apic", "false", "cpu", "apic=off", ""},
        PlatformCase{"acpi", "1", "machine", "q35", "acpi=off"},
        PlatformCase{"acpi", "0", "machine", "acpi=off", ""},
        PlatformCase{"hpet", "false", "machine", "hpet=off", ""},
        PlatformCase{"viridian", "true", "cpu", "hv-time=on", ""},
        PlatformCase{"viridian", "false", "cpu", "host", "hv-"},
        PlatformCase{"nested-virt", "true", "cpu", "host", "vmx=off"},
        PlatformCase{"nested-virt", "false", "cpu", "vmx=off,svm=off", ""},
        PlatformCase{"secureboot", "true", "machine", "smm=on", ""},
        PlatformCase{"secureboot", "false", "machine", "q35", "smm=on"},
        PlatformCase{"cores-per-socket", "2", "smp", "maxcpus=4,sockets=2,cores=2,threads=1", ""},
        PlatformCase{"cores-per-socket", "3", "smp", "maxcpus=4,sockets=4,cores=1", ""},
        PlatformCase{"cores-per-socket", "many", "smp", "maxcpus=4,sockets=4,cores=1", ""},
        PlatformCase{"acpi_s3", "false", "global", "disable_s3", ""},
        PlatformCase{"acpi_s4", "0", "global", "disable_s4", ""},
        PlatformCase{"vga", "cirrus", "device", "cirrus-vga", ""},
        PlatformCase{"vga", "std", "device", "\"VGA\"", "cirrus"},
        PlatformCase{"videoram", "8", "device", "\"vgamem_mb\":8", ""},
        PlatformCase{"videoram", "5", "device", "\"vgamem_mb\":8", ""},
        PlatformCase{"videoram", "4096", "device", "\"vgamem_mb\":64", ""},
        PlatformCase{"usb", "false", "device", "virtio-blk-pci", "usb-tablet"},
        PlatformCase{"usb_tablet", "true", "device", "usb-tablet", ""},
        // These name parts of another hypervisor; what they ask for is so anyway, or not at all.
        PlatformCase{"device-model", "qemu-upstream-uefi", "machine", "q35", ""},
        PlatformCase{"hap", "false", "machine", "q35", ""},
        PlatformCase{"timer_mode", "1", "machine", "q35", ""}));

TEST(Plan, texts_of_the_firmware_tables_cannot_add_options) {
    DomainConfig config = debian();
    EXPECT_THAT(values(planned(config), "smbios"), testing::IsEmpty());
    config.spec.bios_strings = {{"bios-vendor", "Any, Inc."},
                                {"system-serial-number", "7"},
                                {"hp-rombios", ""},
                                {"enclosure-asset-tag", "tag,type=0"}};
    EXPECT_THAT(
        values(planned(config), "smbios"),
        ElementsAre("type=0,vendor=Any,, Inc.", "type=1,serial=7", "type=3,asset=tag,,type=0"));
}

TEST(Plan, what_a_guest_has_plugged_is_what_its_process_starts_with) {
    DomainConfig config = debian();
    config.spec.vcpus_max = 4;
    Machine machine = plan_machine(config, false);
    machine.vcpus = 3;  // as a saved guest's head says
    EXPECT_THAT(values(plan_command_line(config, machine, paths, {}, {}), "smp"),
                ElementsAre("cpus=3,maxcpus=4,sockets=4,cores=1,threads=1"));
}

TEST(Plan, every_offload_of_a_nic_is_off) {
    const Json card = device(planned(debian()), "vif-0");
    for (const char* offload : {"csum", "gso", "guest_csum", "guest_tso4", "host_tso4"})
        EXPECT_EQ(card.at(offload), false) << offload;
}

TEST(Plan, a_socket_path_too_long_is_told_before_it_is_tried) {
    const DomainPaths deep{.dir = "/run/" + std::string(120, 'x')};
    const DomainConfig config = debian();
    EXPECT_THROW((void)plan_command_line(config, plan_machine(config, false), deep, {}, {}),
                 ApiError);
}

}  // namespace
}  // namespace basalt::hv::qemu
