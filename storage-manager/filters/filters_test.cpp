#include "storage-manager/filters/filters.hpp"

#include <gtest/gtest.h>

#include "base/sim_loop.hpp"
#include "storage-manager/sim/sim_driver.hpp"

namespace basalt::sm {
namespace {

TEST(Filters, stack_over_a_driver) {
    SimLoop loop(1);
    const auto world = std::make_shared<sim::World>();
    const Kind kind = sim::sim_kind(loop, world, "file");
    const auto faults = std::make_shared<Faults>();
    const auto driver = trace(
        fault(delay(loop, kind.make("5e000000-0000-4000-8000-000000000001", {}), 1min), faults),
        "sr");
    EXPECT_NE(driver->snapshots(), nullptr);
    std::string code;
    const auto job = spawn(loop, "test", [](Driver& d, Faults& f, std::string& out) -> Task<void> {
        co_await d.attach();
        f.failing.emplace("create", ApiError("SR_FULL", {"1", "0"}));
        try {
            agent::VdiSpec spec;
            spec.size_bytes = 1;
            co_await d.create(spec);
        } catch (const ApiError& error) {
            out = error.code();
        }
        f.failing.clear();
        const auto contents = co_await d.scan();
        EXPECT_TRUE(contents.vdis.empty());
    }(*driver, *faults, code));
    loop.run_for(1h);
    EXPECT_TRUE(job->finished());
    EXPECT_EQ(job->failure(), nullptr);
    EXPECT_EQ(code, "SR_FULL");
    EXPECT_EQ(faults->calls["create"], 1);
    EXPECT_GE(loop.now().time_since_epoch(), 2min);
}

}  // namespace
}  // namespace basalt::sm
