// What a folder SR makes of every state that a kill can leave behind, and of strangers' files.
#include "storage-manager/drivers/file/file_driver.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "base/subprocess.hpp"
#include "storage-manager/contract/bench.hpp"
#include "storage-manager/datapath/qemu_transfer.hpp"

namespace basalt::sm {
namespace {

namespace fs = std::filesystem;
using test::spec_of;

constexpr std::int64_t mib = 1024 * 1024;
const std::string sr = "5e000000-0000-4000-8000-000000000001";
const std::string disk_a = "aa000000-0000-4000-8000-00000000000a";
const std::string disk_b = "bb000000-0000-4000-8000-00000000000b";
const std::string stranger = "ee000000-0000-4000-8000-00000000000e";

struct Place {
    // A new worker for the same SR; the old one was killed.
    Task<void> restart() {
        driver.reset();
        driver = std::make_unique<FileDriver>(loop, sr, folder.path());
        co_await driver->attach();
    }

    Task<void> make_image(fs::path file, std::string size, std::string backing = {}) {
        Command command;
        command.argv.assign({"qemu-img", "create", "-q", "-u", "-f", "qcow2"});
        if (!backing.empty()) command.argv.insert(command.argv.end(), {"-F", "raw", "-b", backing});
        command.argv.insert(command.argv.end(), {file.string(), size});
        const Output output = co_await run_command(loop, command, 20s);
        EXPECT_EQ(output.status, 0) << output.err;
    }

    // Fills the disk's first MiB with a byte, through QEMU.
    Task<void> fill(std::string vdi, std::string byte) {
        const Attachment disk = co_await driver->open(vdi, agent::Access::rw);
        Command command;
        command.argv.assign(
            {"qemu-io", "-f", "qcow2", "-c", "write -P " + byte + " 0 1M", disk.chain[0].path});
        const Output output = co_await run_command(loop, command, 20s);
        EXPECT_EQ(output.status, 0) << output.err;
        co_await driver->close(vdi);
    }

    Task<bool> holds(std::string vdi, std::string byte) {
        const Attachment disk = co_await driver->open(vdi, agent::Access::ro);
        Command command;
        command.argv.assign({"qemu-io", "-r", "-f", "qcow2", "-c", "read -P " + byte + " 0 1M",
                             disk.chain[0].path});
        const Output output = co_await run_command(loop, command, 20s);
        co_await driver->close(vdi);
        co_return output.status == 0 &&
            output.out.find("Pattern verification failed") == std::string::npos;
    }

    std::size_t images() const {
        std::size_t count = 0;
        for (const auto& entry : fs::directory_iterator(folder.path()))
            if (entry.path().extension() == ".qcow2") ++count;
        return count;
    }

    test::TemporaryFolder folder;
    RealLoop loop;
    std::unique_ptr<FileDriver> driver;
};

using Body = Task<void> (*)(Place&);

void in_place(Body body) {
    Place place;
    test::run(place.loop, [](Place& at, Body run) -> Task<void> {
        co_await at.restart();
        co_await run(at);
        co_await at.driver->sr().settle();
    }(place, body));
}

TEST(FileDriver, an_image_without_a_record_is_cleared_away) {
    in_place([](Place& place) -> Task<void> {
        const fs::path orphan = place.folder.path() / file::Layout::image_name(disk_a);
        co_await place.make_image(orphan, "1M");
        std::ofstream(place.folder.path() / (disk_a + ".vdi.json.new")) << "half";
        const auto contents = co_await place.driver->scan();
        EXPECT_TRUE(contents.vdis.empty());
        EXPECT_FALSE(fs::exists(orphan));
    });
}

TEST(FileDriver, a_kill_after_prepare_loses_nothing) {
    in_place([](Place& place) -> Task<void> {
        co_await place.driver->create(spec_of(disk_a, 2 * mib));
        co_await place.fill(disk_a, "7");
        const auto prepared = co_await place.driver->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await place.restart();
        EXPECT_TRUE(co_await place.holds(disk_a, "7"));
        const auto made = co_await place.driver->snapshot_commit(prepared.token);
        EXPECT_EQ(made.uuid, disk_b);
        EXPECT_TRUE(co_await place.holds(disk_b, "7"));
    });
}

TEST(FileDriver, a_kill_before_the_record_of_the_snapshot_leaves_a_disk_and_garbage) {
    in_place([](Place& place) -> Task<void> {
        co_await place.driver->create(spec_of(disk_a, 2 * mib));
        co_await place.fill(disk_a, "7");
        const auto prepared = co_await place.driver->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await place.driver->snapshot_commit(prepared.token);
        fs::remove(place.folder.path() / (disk_b + ".vdi.json"));  // as if it had not been written
        co_await place.restart();
        co_await place.driver->scan();
        co_await place.driver->sr().settle();  // and the leaf takes in what the frozen image held
        EXPECT_EQ(place.images(), 1U);
        EXPECT_TRUE(co_await place.holds(disk_a, "7"));
    });
}

TEST(FileDriver, an_unreadable_record_stops_all_deleting) {
    in_place([](Place& place) -> Task<void> {
        co_await place.driver->create(spec_of(disk_a, 2 * mib));
        co_await place.driver->create(spec_of(disk_b, 2 * mib));
        std::ofstream(place.folder.path() / (disk_a + ".vdi.json")) << "{ broken";
        const auto contents = co_await place.driver->scan();
        EXPECT_EQ(contents.vdis.size(), 2U);  // one shows as a hidden image
        EXPECT_EQ(place.images(), 2U);
        co_await place.driver->destroy(disk_b);
        EXPECT_EQ(place.images(), 2U);
    });
}

TEST(FileDriver, inner_images_are_merged_when_their_other_child_goes) {
    in_place([](Place& place) -> Task<void> {
        co_await place.driver->create(spec_of(disk_a, 2 * mib));
        co_await place.fill(disk_a, "7");
        const auto prepared = co_await place.driver->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await place.driver->snapshot_commit(prepared.token);
        EXPECT_EQ(place.images(), 3U);
        co_await place.driver->destroy(disk_b);
        co_await place.driver->sr().settle();
        EXPECT_EQ(place.images(), 1U);
        const auto info = co_await place.driver->stat(disk_a);
        EXPECT_EQ(info.parent, "");
        EXPECT_TRUE(co_await place.holds(disk_a, "7"));
    });
}

TEST(FileDriver, an_open_disk_is_not_merged) {
    in_place([](Place& place) -> Task<void> {
        co_await place.driver->create(spec_of(disk_a, 2 * mib));
        co_await place.fill(disk_a, "7");
        const auto prepared = co_await place.driver->snapshot_prepare(disk_a, spec_of(disk_b, 0));
        co_await place.driver->snapshot_commit(prepared.token);
        co_await place.driver->open(disk_a, agent::Access::rw);
        co_await place.driver->destroy(disk_b);
        co_await place.driver->sr().settle();
        EXPECT_EQ(place.images(), 2U);
        co_await place.driver->close(disk_a);
        co_await place.driver->scan();
        co_await place.driver->sr().settle();
        EXPECT_EQ(place.images(), 1U);
    });
}

TEST(FileDriver, a_strangers_image_becomes_a_disk) {
    in_place([](Place& place) -> Task<void> {
        const fs::path file = place.folder.path() / (stranger + ".qcow2");
        co_await place.make_image(file, "3M");
        const auto contents = co_await place.driver->scan();
        EXPECT_EQ(contents.vdis.size(), 1U);
        const auto info = co_await place.driver->stat(stranger);
        EXPECT_EQ(info.size_bytes, 3 * mib);
        EXPECT_FALSE(fs::exists(file));
        co_await place.driver->destroy(stranger);
        EXPECT_EQ(place.images(), 0U);
    });
}

TEST(FileDriver, an_image_that_names_a_file_elsewhere_is_no_disk) {
    in_place([](Place& place) -> Task<void> {
        const fs::path file = place.folder.path() / (stranger + ".qcow2");
        co_await place.make_image(file, "1M", "/etc/passwd");
        const fs::path link = place.folder.path() / (disk_a + ".qcow2");
        fs::create_symlink("/etc/passwd", link);
        const auto contents = co_await place.driver->scan();
        EXPECT_TRUE(contents.vdis.empty());
        EXPECT_EQ(
            co_await test::code_of(test::ignoring(place.driver->open(stranger, agent::Access::ro))),
            "SR_BACKEND_FAILURE_46");
    });
}

TEST(FileDriver, a_second_worker_waits_for_the_first_to_be_gone) {
    in_place([](Place& place) -> Task<void> {
        FileDriver second(place.loop, sr, place.folder.path());
        place.loop.at(place.loop.now() + 300ms, [&place] { place.driver.reset(); });
        const Time before = place.loop.now();
        co_await second.attach();
        EXPECT_GE(place.loop.now() - before, 300ms);
        co_await second.detach();
        co_await place.restart();
    });
}

}  // namespace
}  // namespace basalt::sm
