#include "hypervisor/xen/meter.hpp"

#include <gtest/gtest.h>

namespace basalt::hv::xen {
namespace {

TEST(XenMeter, a_block_devices_counters_are_understood) {
    // Of Linux 6.12, which has 17 of them.
    const auto read = parse_disk_counters(
        "    1375       12    98304     2500      640        3     8192      750        0     3100 "
        "    3400       0        0        0        0       10      150\n");
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->reads, 1375);
    EXPECT_EQ(read->read_bytes, 98304 * 512);
    EXPECT_DOUBLE_EQ(read->read_seconds, 2.5);
    EXPECT_EQ(read->writes, 640);
    EXPECT_EQ(read->write_bytes, 8192 * 512);
    EXPECT_DOUBLE_EQ(read->write_seconds, 0.75);
}

TEST(XenMeter, what_is_no_list_of_counters_is_nothing) {
    EXPECT_FALSE(parse_disk_counters("").has_value());
    EXPECT_FALSE(parse_disk_counters("1 2 3 4 5 6 7").has_value());
    EXPECT_FALSE(parse_disk_counters("1 2 3 4 5 6 7 x").has_value());
    EXPECT_FALSE(parse_disk_counters("1 2 3 -4 5 6 7 8").has_value());
}

}  // namespace
}  // namespace basalt::hv::xen
