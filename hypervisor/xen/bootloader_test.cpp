#include "hypervisor/xen/bootloader.hpp"

#include <gtest/gtest.h>

namespace basalt::hv::xen {
namespace {

using namespace std::string_view_literals;

constexpr const char* folder = "/var/lib/basalt/boot/vm";

TEST(XenBootloader, what_it_found_is_in_its_folder) {
    EXPECT_EQ(parse_found("kernel /var/lib/basalt/boot/vm/boot_kernel.a\0"
                          "ramdisk /var/lib/basalt/boot/vm//boot_ramdisk.b\0"
                          "args root=/dev/xvda1 ro\0\0"sv,
                          folder),
              (FoundKernel{.kernel = "/var/lib/basalt/boot/vm/boot_kernel.a",
                           .ramdisk = "/var/lib/basalt/boot/vm/boot_ramdisk.b",
                           .args = "root=/dev/xvda1 ro"}));
    EXPECT_EQ(parse_found("kernel /var/lib/basalt/boot/vm/k\0\0"sv, folder),
              (FoundKernel{.kernel = "/var/lib/basalt/boot/vm/k", .ramdisk = {}, .args = {}}));
}

TEST(XenBootloader, files_of_the_host_are_no_kernels) {
    for (const std::string_view path : {"/etc/shadow"sv, "/var/lib/basalt/boot/vm/../other/k"sv,
                                        "/var/lib/basalt/boot/vm/a/k"sv, "boot_kernel.a"sv, ""sv}) {
        const std::string kernel = "kernel " + std::string(path);
        EXPECT_EQ(parse_found(kernel, folder), std::nullopt) << path;
        std::string ramdisk = "kernel /var/lib/basalt/boot/vm/k";
        ramdisk += '\0';
        ramdisk += "ramdisk " + std::string(path);
        EXPECT_EQ(parse_found(ramdisk, folder), std::nullopt) << path;
    }
    EXPECT_EQ(parse_found("", folder), std::nullopt);
    EXPECT_EQ(parse_found("args console=hvc0\0\0"sv, folder), std::nullopt);
    EXPECT_EQ(parse_found("Traceback (most recent call last):\n", folder), std::nullopt);
}

}  // namespace
}  // namespace basalt::hv::xen
