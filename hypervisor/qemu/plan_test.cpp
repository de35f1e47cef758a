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
    EXPECT_THAT(values(argv, "smp"), ElementsAre("cpus=1,maxcpus=2"));
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
