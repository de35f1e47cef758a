#include "storage-manager/drivers/device/device_kinds.hpp"

#include <gtest/gtest.h>

#include "storage-manager/contract/bench.hpp"

namespace basalt::sm::test {
namespace {

namespace fs = std::filesystem;

const std::string nothing = "<SRlist></SRlist>";

Task<void> live(Bench& bench, std::string other) {
    const Drivers::Sr sr = bench.sr();
    const fs::path point = fs::path("/run/sr-mount") / sr.uuid;
    Drivers& drivers = bench.drivers();
    EXPECT_EQ(co_await drivers.probe(sr.type, sr.config), nothing);
    const auto early = co_await drivers.make(sr);
    EXPECT_EQ(co_await code_of(ignoring(early->attach())), "SR_BACKEND_FAILURE_47");
    co_await drivers.create(sr);
    EXPECT_FALSE(fs::exists(point));
    EXPECT_EQ(co_await drivers.probe(sr.type, sr.config),
              "<SRlist><SR><UUID>" + sr.uuid + "</UUID></SR></SRlist>");
    EXPECT_EQ(co_await drivers.probe(other, sr.config), nothing);
    auto driver = co_await drivers.make(sr);
    const agent::SrInfo info = co_await driver->attach();
    EXPECT_GT(info.size_bytes, std::int64_t{400} << 20);
    EXPECT_TRUE(fs::exists(point / "sr.json"));
    driver.reset();  // as when its worker dies
    driver = co_await drivers.make(sr);
    co_await driver->attach();
    co_await driver->detach();
    EXPECT_FALSE(fs::exists(point));
    co_await drivers.destroy(sr);
    EXPECT_EQ(co_await drivers.probe(sr.type, sr.config), nothing);
}

TEST(DeviceKinds, ext_formats_mounts_and_forgets_a_device) {
    const auto bench = ext_bench();
    if (!bench) GTEST_SKIP() << "this machine has no loop devices";
    bench->run(live(*bench, "xfs"));
}

TEST(DeviceKinds, xfs_formats_mounts_and_forgets_a_device) {
    const auto bench = xfs_bench();
    if (!bench) GTEST_SKIP() << "this machine has no loop devices";
    bench->run(live(*bench, "ext"));
}

}  // namespace
}  // namespace basalt::sm::test
