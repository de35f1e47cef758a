// What every driver with snapshots means by its verbs.
#include <gtest/gtest.h>

#include <algorithm>
#include <exception>

#include "storage-manager/contract/bench.hpp"

namespace basalt::sm::test {
namespace {

constexpr std::int64_t mib = 1024 * 1024;
const std::string disk_a = "aa000000-0000-4000-8000-00000000000a";
const std::string disk_b = "bb000000-0000-4000-8000-00000000000b";
const std::string disk_c = "cc000000-0000-4000-8000-00000000000c";

using Factory = std::unique_ptr<Bench> (*)();

struct Case {
    const char* name;
    Factory make;
};

class DriverContract : public testing::TestWithParam<Case> {
  protected:
    using Body = Task<void> (*)(Bench&, Driver&);

    // Attaches the SR of a fresh bench and runs the body on its driver.
    void with_driver(Body body) {
        const auto bench = GetParam().make();
        if (!bench) GTEST_SKIP() << "this machine has no loop devices";
        bench->run(attached(*bench, body));
    }

  private:
    static Task<void> attached(Bench& bench, Body body) {
        co_await bench.drivers().create(bench.sr());
        const auto driver = co_await bench.drivers().make(bench.sr());
        co_await driver->attach();
        std::exception_ptr failure;
        try {
            co_await body(bench, *driver);
        } catch (...) {
            failure = std::current_exception();
        }
        co_await driver->detach();
        if (failure) std::rethrow_exception(failure);
    }
};

Task<std::vector<agent::VdiInfo>> visible(Driver& driver) {
    const agent::SrContents contents = co_await driver.scan();
    std::vector<agent::VdiInfo> out;
    for (const agent::VdiInfo& info : contents.vdis)
        if (!info.hidden) out.push_back(info);
    co_return out;
}

Task<void> put(Bench& bench, Driver& driver, std::string vdi, std::uint64_t block,
               std::uint64_t value) {
    const Attachment disk = co_await driver.open(vdi, agent::Access::rw);
    co_await bench.write(disk, block, value);
    co_await driver.close(vdi);
}

Task<std::uint64_t> get(Bench& bench, Driver& driver, std::string vdi, std::uint64_t block) {
    const Attachment disk = co_await driver.open(vdi, agent::Access::ro);
    const std::uint64_t value = co_await bench.read(disk, block);
    co_await driver.close(vdi);
    co_return value;
}

Task<agent::VdiInfo> take_snapshot(Driver& driver, std::string vdi, std::string snapshot) {
    const auto prepared = co_await driver.snapshots()->snapshot_prepare(vdi, spec_of(snapshot, 0));
    co_return co_await driver.snapshots()->snapshot_commit(prepared.token);
}

TEST_P(DriverContract, create_and_destroy_may_come_twice) {
    with_driver([](Bench&, Driver& driver) -> Task<void> {
        const auto made = co_await driver.create(spec_of(disk_a, 3 * mib - 5));
        EXPECT_EQ(made.uuid, disk_a);
        EXPECT_EQ(made.size_bytes, 3 * mib);
        EXPECT_EQ(made.name, "disk aa");
        const auto again = co_await driver.create(spec_of(disk_a, 3 * mib));
        EXPECT_EQ(again.location, made.location);
        const auto other = co_await code_of(ignoring(driver.create(spec_of(disk_a, 9 * mib))));
        EXPECT_EQ(other, "SR_BACKEND_FAILURE_43");
        auto seen = co_await visible(driver);
        EXPECT_EQ(seen.size(), 1U);
        co_await driver.destroy(disk_a);
        co_await driver.destroy(disk_a);
        const auto contents = co_await driver.scan();
        EXPECT_TRUE(contents.vdis.empty());
        EXPECT_EQ(contents.sr.virtual_bytes, 0);
    });
}

TEST_P(DriverContract, sizes_out_of_range_are_refused) {
    with_driver([](Bench&, Driver& driver) -> Task<void> {
        const auto none = co_await code_of(ignoring(driver.create(spec_of(disk_a, 0))));
        EXPECT_EQ(none, "SR_BACKEND_FAILURE_79");
        const auto huge =
            co_await code_of(ignoring(driver.create(spec_of(disk_a, std::int64_t{1} << 60))));
        EXPECT_EQ(huge, "VDI_TOO_LARGE");
    });
}

TEST_P(DriverContract, a_new_disk_reads_as_zeros_and_keeps_what_is_written) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        EXPECT_EQ(co_await get(bench, driver, disk_a, 7), 0U);
        co_await put(bench, driver, disk_a, 7, 42);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 7), 42U);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 8), 0U);
    });
}

TEST_P(DriverContract, a_snapshot_keeps_the_old_content) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        const auto first = co_await take_snapshot(driver, disk_a, disk_b);
        EXPECT_EQ(first.uuid, disk_b);
        EXPECT_FALSE(first.parent.empty());
        co_await put(bench, driver, disk_a, 1, 12);
        co_await put(bench, driver, disk_a, 2, 22);
        co_await take_snapshot(driver, disk_a, disk_c);
        co_await put(bench, driver, disk_a, 1, 13);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 1), 11U);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 2), 0U);
        EXPECT_EQ(co_await get(bench, driver, disk_c, 1), 12U);
        EXPECT_EQ(co_await get(bench, driver, disk_c, 2), 22U);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 13U);
        const auto seen = co_await visible(driver);
        EXPECT_EQ(seen.size(), 3U);
        const auto contents = co_await driver.scan();
        EXPECT_EQ(std::ranges::count_if(contents.vdis, &agent::VdiInfo::hidden), 2);
    });
}

TEST_P(DriverContract, what_a_snapshot_is_based_on_outlives_the_disk) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        co_await take_snapshot(driver, disk_a, disk_b);
        co_await driver.destroy(disk_a);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 1), 11U);
        co_await driver.destroy(disk_b);
        const auto contents = co_await driver.scan();
        EXPECT_TRUE(contents.vdis.empty());
    });
}

TEST_P(DriverContract, a_snapshot_taken_back_leaves_the_disk_as_it_was) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        const auto before = co_await driver.stat(disk_a);
        const auto prepared =
            co_await driver.snapshots()->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await driver.snapshots()->snapshot_abort(prepared.token);
        co_await driver.snapshots()->snapshot_abort(prepared.token);
        const auto after = co_await driver.stat(disk_a);
        EXPECT_EQ(after.parent, before.parent);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
        const auto contents = co_await driver.scan();
        EXPECT_EQ(contents.vdis.size(), 1U);
    });
}

TEST_P(DriverContract, a_prepared_snapshot_reads_as_the_old_leaf_until_something_is_written) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        const Attachment old = co_await driver.open(disk_a, agent::Access::rw);
        co_await bench.write(old, 1, 11);
        const auto prepared =
            co_await driver.snapshots()->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await bench.write(old, 1, 12);  // the writer has not switched yet
        co_await driver.close(disk_a);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 12U);
        const auto made = co_await driver.snapshots()->snapshot_commit(prepared.token);
        const auto again = co_await driver.snapshots()->snapshot_commit(prepared.token);
        EXPECT_EQ(made.uuid, again.uuid);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 1), 12U);
    });
}

TEST_P(DriverContract, a_clone_goes_its_own_way) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        const auto clone = co_await driver.snapshots()->clone(disk_a, spec_of(disk_b, 0));
        EXPECT_EQ(clone.size_bytes, 4 * mib);
        co_await put(bench, driver, disk_b, 1, 99);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 1), 99U);
        // A disk that was not written since is cloned from the same parent.
        const auto second = co_await driver.snapshots()->clone(disk_a, spec_of(disk_c, 0));
        EXPECT_EQ(second.parent, clone.parent);
        EXPECT_EQ(co_await get(bench, driver, disk_c, 1), 11U);
    });
}

TEST_P(DriverContract, a_disk_goes_back_to_a_snapshot_that_stays) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        const auto snapshot = co_await driver.snapshots()->clone(disk_a, spec_of(disk_b, 0));
        co_await put(bench, driver, disk_a, 1, 22);
        co_await driver.resizer()->resize(disk_a, 8 * mib);

        const auto back = co_await driver.snapshots()->revert(disk_a, disk_b);
        EXPECT_EQ(back.uuid, disk_a);
        EXPECT_EQ(back.size_bytes, 4 * mib);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
        // Each goes its own way afterwards, and it can be done again.
        co_await put(bench, driver, disk_a, 1, 33);
        EXPECT_EQ(co_await get(bench, driver, disk_b, 1), 11U);
        co_await driver.snapshots()->revert(disk_a, disk_b);
        co_await driver.snapshots()->revert(disk_a, disk_b);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
        EXPECT_EQ((co_await driver.stat(disk_b)).size_bytes, snapshot.size_bytes);
        co_await driver.destroy(disk_b);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
    });
}

TEST_P(DriverContract, a_disk_in_use_does_not_go_back) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await driver.snapshots()->clone(disk_a, spec_of(disk_b, 0));
        co_await put(bench, driver, disk_a, 1, 22);
        co_await driver.open(disk_a, agent::Access::ro);
        EXPECT_EQ(co_await code_of(ignoring(driver.snapshots()->revert(disk_a, disk_b))),
                  "VDI_IN_USE");
        co_await driver.close(disk_a);
        co_await driver.open(disk_b, agent::Access::rw);
        EXPECT_EQ(co_await code_of(ignoring(driver.snapshots()->revert(disk_a, disk_b))),
                  "VDI_IN_USE");
        co_await driver.close(disk_b);
        EXPECT_EQ(co_await code_of(ignoring(driver.snapshots()->revert(disk_a, disk_c))),
                  "SR_BACKEND_FAILURE_46");
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 22U);
    });
}

TEST_P(DriverContract, a_disk_in_use_is_neither_destroyed_nor_resized_nor_cloned) {
    with_driver([](Bench&, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await driver.open(disk_a, agent::Access::rw);
        EXPECT_EQ(co_await code_of(driver.destroy(disk_a)), "VDI_IN_USE");
        EXPECT_EQ(co_await code_of(ignoring(driver.resizer()->resize(disk_a, 8 * mib))),
                  "VDI_IN_USE");
        EXPECT_EQ(co_await code_of(ignoring(driver.snapshots()->clone(disk_a, spec_of(disk_b, 0)))),
                  "VDI_IN_USE");
        EXPECT_EQ(co_await code_of(driver.detach()), "SR_BACKEND_FAILURE_16");
        co_await driver.close(disk_a);
        co_await driver.destroy(disk_a);
    });
}

TEST_P(DriverContract, a_disk_grows_and_never_shrinks) {
    with_driver([](Bench& bench, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, 4 * mib));
        co_await put(bench, driver, disk_a, 1, 11);
        const auto grown = co_await driver.resizer()->resize(disk_a, 6 * mib + 1);
        EXPECT_EQ(grown.size_bytes, 7 * mib);
        EXPECT_EQ(co_await code_of(ignoring(driver.resizer()->resize(disk_a, mib))),
                  "SR_BACKEND_FAILURE_79");
        EXPECT_EQ(co_await get(bench, driver, disk_a, 1), 11U);
        co_await put(bench, driver, disk_a, 7 * 256 - 1, 5);
        EXPECT_EQ(co_await get(bench, driver, disk_a, 7 * 256 - 1), 5U);
    });
}

TEST_P(DriverContract, a_name_from_outside_is_never_a_path) {
    with_driver([](Bench&, Driver& driver) -> Task<void> {
        for (const char* name : {"../../etc/passwd", "/etc/passwd", "..", "",
                                 "AA000000-0000-4000-8000-00000000000A", "x/../y"}) {
            EXPECT_EQ(co_await code_of(ignoring(driver.open(name, agent::Access::ro))),
                      "SR_BACKEND_FAILURE_46")
                << name;
            EXPECT_EQ(co_await code_of(driver.destroy(name)), "SR_BACKEND_FAILURE_46") << name;
            if (*name == '\0') continue;  // the driver then chooses one
            EXPECT_EQ(co_await code_of(ignoring(driver.create(spec_of(name, mib)))),
                      "SR_BACKEND_FAILURE_46")
                << name;
        }
    });
}

TEST_P(DriverContract, a_chain_has_an_end) {
    with_driver([](Bench&, Driver& driver) -> Task<void> {
        co_await driver.create(spec_of(disk_a, mib));
        std::string code;
        int taken = 0;
        while (code.empty() && taken < 40) {
            const std::string uuid =
                "dd000000-0000-4000-8000-0000000000" + std::to_string(10 + taken);
            code = co_await code_of(ignoring(take_snapshot(driver, disk_a, uuid)));
            ++taken;
        }
        EXPECT_EQ(code, "SR_BACKEND_FAILURE_109");
        EXPECT_EQ(taken, 30);
    });
}

INSTANTIATE_TEST_SUITE_P(Every, DriverContract,
                         testing::Values(Case{"sim", sim_bench}, Case{"file", file_bench},
                                         Case{"worker", worker_bench}, Case{"ext", ext_bench},
                                         Case{"xfs", xfs_bench}),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace basalt::sm::test
