#include "hypervisor/xen/domain_config.hpp"

#include <gmock/gmock.h>
#include "base/error.hpp"

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

std::string refusal(const DomainConfig& config) {
    try {
        require_possible(config);
    } catch (const ApiError& error) {
        return error.code();
    }
    return "";
}

TEST(XenDomainConfig, a_guest_with_a_kernel_is_pvh) {
    OwnedConfig made;
    fill(*made.get(), kernel_guest());
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

TEST(XenDomainConfig, as_many_processors_start_as_the_spec_says) {
    OwnedConfig made;
    fill(*made.get(), kernel_guest());
    EXPECT_EQ(made->b_info.max_vcpus, 10);
    EXPECT_EQ(libxl_bitmap_count_set(&made->b_info.avail_vcpus), 9);
    EXPECT_EQ(libxl_bitmap_test(&made->b_info.avail_vcpus, 8), 1);
    EXPECT_EQ(libxl_bitmap_test(&made->b_info.avail_vcpus, 9), 0);
}

TEST(XenDomainConfig, what_guests_cannot_have_is_refused) {
    EXPECT_EQ(refusal(kernel_guest()), "");
    DomainConfig config = kernel_guest();
    config.spec.boot.kind = agent::BootKind::firmware;
    EXPECT_EQ(refusal(config), "OPERATION_NOT_ALLOWED");
    config = kernel_guest();
    config.disks.emplace_back();
    EXPECT_EQ(refusal(config), "OPERATION_NOT_ALLOWED");
    config = kernel_guest();
    config.nics.emplace_back();
    EXPECT_EQ(refusal(config), "OPERATION_NOT_ALLOWED");
}

}  // namespace
}  // namespace basalt::hv::xen
