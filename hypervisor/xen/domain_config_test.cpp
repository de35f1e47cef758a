#include "hypervisor/xen/domain_config.hpp"

#include <gmock/gmock.h>

namespace basalt::hv::xen {
namespace {

constexpr const char* uuid = "0b5a17c0-0001-4000-8000-00000000000a";

DomainConfig kernel_guest() {
    DomainConfig config;
    config.spec.uuid = uuid;
    config.spec.name = "web";
    config.spec.memory_bytes = std::int64_t{256} << 20;
    config.spec.vcpus_max = 10;
    config.spec.vcpus = 9;
    config.spec.boot.kind = agent::BootKind::kernel;
    config.spec.boot.kernel = "/boot/guest/vmlinuz";
    config.spec.boot.args = "console=hvc0";
    return config;
}

DiskAttachment disk(const std::string& device) {
    DiskAttachment out;
    out.spec.device = device;
    out.spec.access = agent::Access::rw;
    out.spec.disk = agent::DiskRef{.sr = "s", .vdi = "v", .location = "v.qcow2"};
    out.nbd_socket = "/run/nbd";
    out.nbd_export = device;
    return out;
}

TEST(XenDomainConfig, a_guest_with_a_kernel_is_pvh) {
    OwnedConfig made;
    fill(*made.get(), kernel_guest(), {});
    EXPECT_EQ(made->c_info.type, LIBXL_DOMAIN_TYPE_PVH);
    EXPECT_STREQ(made->c_info.name, uuid);
    EXPECT_EQ(made->b_info.type, LIBXL_DOMAIN_TYPE_PVH);
    EXPECT_EQ(made->b_info.max_memkb, 256U * 1024);
    EXPECT_EQ(made->b_info.target_memkb, 256U * 1024);
    EXPECT_STREQ(made->b_info.kernel, "/boot/guest/vmlinuz");
    EXPECT_EQ(made->b_info.ramdisk, nullptr);
    EXPECT_STREQ(made->b_info.cmdline, "console=hvc0");
    EXPECT_EQ(made->num_disks, 0);
    EXPECT_EQ(made->num_nics, 0);
}

TEST(XenDomainConfig, a_paravirtual_guest_with_a_kernel_is_pv) {
    DomainConfig config = kernel_guest();
    config.spec.boot.paravirtual = true;
    OwnedConfig made;
    fill(*made.get(), config, {});
    EXPECT_EQ(made->c_info.type, LIBXL_DOMAIN_TYPE_PV);
    EXPECT_EQ(made->b_info.type, LIBXL_DOMAIN_TYPE_PV);
    EXPECT_STREQ(made->b_info.kernel, "/boot/guest/vmlinuz");
}

TEST(XenDomainConfig, a_guest_that_brings_its_kernel_boots_what_was_found) {
    DomainConfig config = kernel_guest();
    config.spec.boot = {.kind = agent::BootKind::firmware, .paravirtual = true};
    config.spec.boot.bootloader = "pygrub";
    OwnedConfig made;
    fill(*made.get(), config,
         {.disks = {},
          .screen = {},
          .found = FoundKernel{.kernel = "/b/k", .ramdisk = "/b/r", .args = "quiet"}});
    EXPECT_EQ(made->c_info.type, LIBXL_DOMAIN_TYPE_PV);
    EXPECT_STREQ(made->b_info.kernel, "/b/k");
    EXPECT_STREQ(made->b_info.ramdisk, "/b/r");
    EXPECT_STREQ(made->b_info.cmdline, "quiet");
    EXPECT_EQ(made->b_info.bootloader, nullptr);
}

TEST(XenDomainConfig, as_many_processors_start_as_the_spec_says) {
    OwnedConfig made;
    fill(*made.get(), kernel_guest(), {});
    EXPECT_EQ(made->b_info.max_vcpus, 10);
    EXPECT_EQ(libxl_bitmap_count_set(&made->b_info.avail_vcpus), 9);
    EXPECT_EQ(libxl_bitmap_test(&made->b_info.avail_vcpus, 8), 1);
    EXPECT_EQ(libxl_bitmap_test(&made->b_info.avail_vcpus, 9), 0);
}

TEST(XenDomainConfig, disks_are_block_devices_and_empty_drives_of_kernel_guests_are_left_out) {
    DomainConfig config = kernel_guest();
    config.disks = {disk("xvda"), disk("xvdb"), disk("xvdd")};
    config.disks[1].spec.access = agent::Access::ro;
    config.disks[1].spec.disk.reset();  // what is served counts, whatever is known of it
    config.disks[2].spec.kind = agent::DiskKind::cd;
    config.disks[2].spec.disk.reset();
    OwnedConfig made;
    fill(*made.get(), config, {.disks = {{"xvda", "/dev/nbd0"}, {"xvdb", "/dev/nbd7"}}});
    ASSERT_EQ(made->num_disks, 2);
    EXPECT_STREQ(made->disks[0].vdev, "xvda");
    EXPECT_STREQ(made->disks[0].pdev_path, "/dev/nbd0");
    EXPECT_EQ(made->disks[0].backend, LIBXL_DISK_BACKEND_PHY);
    EXPECT_STREQ(made->disks[0].script, "/usr/libexec/basalt/guest-disk");
    EXPECT_EQ(made->disks[0].readwrite, 1);
    EXPECT_STREQ(made->disks[1].pdev_path, "/dev/nbd7");
    EXPECT_EQ(made->disks[1].readwrite, 0);
}

TEST(XenDomainConfig, a_nic_has_its_mac_and_the_name_that_the_host_knows) {
    DomainConfig config = kernel_guest();
    config.nics.emplace_back();
    config.nics[0].spec.device = 2;
    config.nics[0].spec.mac = "02:0a:fF:00:10:99";
    config.nics[0].spec.mtu = 9000;
    config.nics[0].tap = "vif0123456789ab";
    OwnedConfig made;
    fill(*made.get(), config, {});
    ASSERT_EQ(made->num_nics, 1);
    EXPECT_EQ(made->nics[0].devid, 2);
    EXPECT_THAT(made->nics[0].mac, testing::ElementsAre(0x02, 0x0a, 0xff, 0x00, 0x10, 0x99));
    EXPECT_EQ(made->nics[0].mtu, 9000);
    EXPECT_STREQ(made->nics[0].ifname, "vif0123456789ab");
    EXPECT_EQ(made->nics[0].nictype, LIBXL_NIC_TYPE_VIF);
}

TEST(XenDomainConfig, a_guest_with_firmware_is_hvm_and_keeps_its_empty_drives) {
    DomainConfig config = kernel_guest();
    config.spec.boot = {.kind = agent::BootKind::firmware, .firmware = agent::Firmware::uefi};
    config.disks = {disk("xvda"), disk("xvdd")};
    config.disks[1].spec.kind = agent::DiskKind::cd;
    config.disks[1].spec.disk.reset();
    OwnedConfig made;
    fill(*made.get(), config,
         {.disks = {{"xvda", "/dev/nbd0"}}, .screen = "/run/x.vnc", .uefi = "/u.fd"});
    EXPECT_EQ(made->c_info.type, LIBXL_DOMAIN_TYPE_HVM);
    EXPECT_EQ(made->b_info.u.hvm.bios, LIBXL_BIOS_TYPE_OVMF);
    EXPECT_STREQ(made->b_info.u.hvm.system_firmware, "/u.fd");
    EXPECT_STREQ(made->b_info.u.hvm.boot, "cd");
    EXPECT_STREQ(made->b_info.u.hvm.serial, "pty");
    EXPECT_STREQ(made->b_info.extra_hvm[1], "unix:/run/x.vnc");
    EXPECT_EQ(made->b_info.extra_hvm[2], nullptr);
    ASSERT_EQ(made->num_disks, 2);
    EXPECT_EQ(made->disks[1].is_cdrom, 1);
    EXPECT_EQ(made->disks[1].format, LIBXL_DISK_FORMAT_EMPTY);
    config.spec.boot.firmware = agent::Firmware::bios;
    config.spec.boot.order = "n";
    OwnedConfig other;
    fill(*other.get(), config, {.disks = {}, .screen = {}, .uefi = "/u.fd"});
    EXPECT_EQ(other->b_info.u.hvm.bios, LIBXL_BIOS_TYPE_SEABIOS);
    EXPECT_EQ(other->b_info.u.hvm.system_firmware, nullptr);
    EXPECT_STREQ(other->b_info.u.hvm.boot, "n");
}

DomainConfig firmware_guest() {
    DomainConfig config = kernel_guest();
    config.spec.boot = {.kind = agent::BootKind::firmware, .firmware = agent::Firmware::bios};
    return config;
}

// What becomes of a guest that this host may have no firmware for: empty, or what it is told.
std::string refusal(const agent::VmSpec& spec, bool found) {
    try {
        require_firmware(spec, found);
    } catch (const ApiError& error) {
        EXPECT_EQ(error.code(), "OPERATION_NOT_ALLOWED");
        return error.params().at(0);
    }
    return {};
}

TEST(XenDomainConfig, uefi_is_refused_where_there_is_none_and_secure_boot_everywhere) {
    agent::VmSpec spec = firmware_guest().spec;
    EXPECT_EQ(refusal(spec, false), "");
    spec.platform["secureboot"] = "true";
    EXPECT_EQ(refusal(spec, false), "");
    spec.boot.firmware = agent::Firmware::uefi;
    EXPECT_THAT(refusal(spec, true), testing::HasSubstr("no Secure Boot"));
    spec.platform["secureboot"] = "auto";
    EXPECT_EQ(refusal(spec, true), "");
    EXPECT_THAT(refusal(spec, false), testing::HasSubstr("no UEFI"));
    // One that boots a kernel wants no firmware, whatever else it says.
    spec.boot.kind = agent::BootKind::kernel;
    EXPECT_EQ(refusal(spec, false), "");
}

TEST(XenDomainConfig, the_platform_says_what_the_machine_is) {
    DomainConfig config = firmware_guest();
    config.spec.platform = {{"acpi", "1"},     {"pae", "false"},        {"nx", "maybe"},
                            {"vga", "std"},    {"videoram", "32"},      {"usb_tablet", "false"},
                            {"tsc_mode", "2"}, {"nested-virt", "true"}, {"device_id", "0002"},
                            {"hdtype", "ahci"}};
    config.spec.bios_strings = {
        {"system-manufacturer", "Any, Inc."}, {"made-up", "x"}, {"bios-vendor", ""}};
    OwnedConfig made;
    fill(*made.get(), config, {});
    const auto& machine = made->b_info.u.hvm;
    EXPECT_TRUE(libxl_defbool_val(made->b_info.acpi));
    EXPECT_FALSE(libxl_defbool_val(machine.pae));
    EXPECT_TRUE(libxl_defbool_is_default(machine.nx));
    EXPECT_TRUE(libxl_defbool_is_default(machine.viridian));
    EXPECT_TRUE(libxl_defbool_val(made->b_info.nested_hvm));
    EXPECT_EQ(machine.vga.kind, LIBXL_VGA_INTERFACE_TYPE_STD);
    EXPECT_EQ(made->b_info.video_memkb, 32U * 1024);
    EXPECT_TRUE(libxl_defbool_val(machine.usb));
    EXPECT_EQ(machine.usbdevice, nullptr);
    EXPECT_EQ(machine.hdtype, LIBXL_HDTYPE_AHCI);
    EXPECT_EQ(made->b_info.tsc_mode, LIBXL_TSC_MODE_NATIVE);
    EXPECT_EQ(machine.vendor_device, LIBXL_VENDOR_DEVICE_XENSERVER);
    ASSERT_EQ(machine.num_smbios, 1);
    EXPECT_EQ(machine.smbios[0].key, LIBXL_SMBIOS_TYPE_SYSTEM_MANUFACTURER);
    EXPECT_STREQ(machine.smbios[0].value, "Any, Inc.");
}

TEST(XenDomainConfig, the_guest_is_told_its_platform_as_far_as_the_store_has_names_for_it) {
    DomainConfig config = kernel_guest();
    config.spec.platform = {{"cores-per-socket", "2"}, {"a/b", "1"}, {"c", std::string(256, 'x')}};
    OwnedConfig made;
    fill(*made.get(), config, {});
    ASSERT_NE(made->c_info.platformdata, nullptr);
    EXPECT_STREQ(made->c_info.platformdata[0], "cores-per-socket");
    EXPECT_STREQ(made->c_info.platformdata[1], "2");
    EXPECT_EQ(made->c_info.platformdata[2], nullptr);
}

TEST(XenDomainConfig, the_screen_has_no_less_memory_than_its_kind_needs) {
    DomainConfig config = firmware_guest();
    config.spec.platform = {
        {"videoram", "4"}, {"vga", "cirrus"}, {"usb", "0"}, {"tsc_mode", "9"}, {"hdtype", "scsi"}};
    OwnedConfig made;
    fill(*made.get(), config, {});
    EXPECT_EQ(made->b_info.video_memkb, LIBXL_MEMKB_DEFAULT);
    EXPECT_EQ(made->b_info.u.hvm.vga.kind, LIBXL_VGA_INTERFACE_TYPE_CIRRUS);
    EXPECT_FALSE(libxl_defbool_val(made->b_info.u.hvm.usb));
    EXPECT_NE(made->b_info.u.hvm.hdtype, LIBXL_HDTYPE_AHCI);
    EXPECT_EQ(made->b_info.u.hvm.usbdevice, nullptr);
    EXPECT_EQ(made->b_info.tsc_mode, LIBXL_TSC_MODE_DEFAULT);
}

}  // namespace
}  // namespace basalt::hv::xen
