// Copies of the database on disks: what is on the disk when somebody is cut off, who is told what,
// and what a session on such a copy sees. The disks are bytes in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"
#include "xapi/db/store/dump.hpp"
#include "xapi/domain/database_copies.hpp"
#include "xapi/domain/storage.hpp"

namespace basalt::testing {
namespace {

using domain::BlockDisk;
using domain::DatabaseHead;
using wire::Value;
using xenapi::Pbd;
using xenapi::Pool;
using xenapi::Ref;
using xenapi::Session;
using xenapi::Sr;
using xenapi::Vdi;
using xenapi::VdiType;
using xenapi::Vm;

struct Bytes {
    std::string data = std::string(std::size_t{8} << 20, '\0');
    int writes_left = 1'000'000;
    int open = 0;
};

/// Breaks before the write that it has no strength left for.
class MemoryDisk final : public BlockDisk {
  public:
    explicit MemoryDisk(Bytes& bytes) : bytes_(bytes) { ++bytes_.open; }

    ~MemoryDisk() override { --bytes_.open; }

    [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.data.size(); }

    Task<void> read(std::uint64_t offset, std::span<char> out) override {
        bytes_.data.copy(out.data(), out.size(), static_cast<std::size_t>(offset));
        co_return;
    }

    Task<void> write(std::uint64_t offset, std::string_view bytes) override {
        if (bytes_.writes_left-- <= 0) throw err::internal_error("the disk is broken");
        bytes_.data.replace(static_cast<std::size_t>(offset), bytes.size(), bytes);
        co_return;
    }

    Task<void> flush() override { co_return; }

    Task<void> close() override { co_return; }

  private:
    Bytes& bytes_;
};

void run(SimLoop& loop, Task<void> body) {
    const auto job = spawn(loop, "test", std::move(body));
    while (!job->finished())
        loop.run_for(1s);
    if (job->failure()) std::rethrow_exception(job->failure());
}

Task<void> put(BlockDisk& disk, std::string text) {
    domain::PackedDatabase packed = domain::pack_database(text);
    packed.head.pool = "0f0e0d0c-0000-4000-8000-00000000000b";
    co_await domain::write_database(disk, std::move(packed));
}

Task<void> get(Loop& loop, BlockDisk& disk, std::string& out) {
    out = co_await domain::read_database(loop, disk);
}

/// Hard to pack, so that it takes several writes.
std::string noise(SimLoop& loop, std::size_t bytes) {
    std::string out;
    while (out.size() < bytes)
        out += std::to_string(loop.random());
    return out;
}

TEST(DatabaseDisk, who_is_cut_off_has_spoilt_nothing) {
    SimLoop loop(5);
    const std::string old = noise(loop, 200'000);
    const std::string fresh = noise(loop, 3'000'000);
    int cut_off = 0;
    for (int strength = 0;; ++strength) {
        Bytes bytes;
        MemoryDisk disk(bytes);
        run(loop, put(disk, "older"));
        run(loop, put(disk, old));
        bytes.writes_left = strength;
        const bool broke = code_of([&] { run(loop, put(disk, fresh)); }) == "INTERNAL_ERROR";
        std::string found;
        run(loop, get(loop, disk, found));
        EXPECT_EQ(found, broke ? old : fresh) << strength;
        if (!broke) break;
        ++cut_off;
    }
    EXPECT_GE(cut_off, 3);
}

TEST(DatabaseDisk, what_is_damaged_is_not_believed) {
    SimLoop loop(6);
    Bytes bytes;
    MemoryDisk disk(bytes);
    std::string found;
    EXPECT_EQ(code_of([&] { run(loop, get(loop, disk, found)); }), "INTERNAL_ERROR");
    run(loop, put(disk, "first"));
    run(loop, put(disk, "second"));
    run(loop, get(loop, disk, found));
    EXPECT_EQ(found, "second");
    // Its content, then its head: the other copy counts.
    Bytes damaged = bytes;
    const std::size_t second_at = (std::size_t{1} << 20) + (std::size_t{7} << 19);
    damaged.data[second_at + 3] ^= 1;
    MemoryDisk other(damaged);
    run(loop, get(loop, other, found));
    EXPECT_EQ(found, "first");
    bytes.data[4096 + 40] ^= 1;
    run(loop, get(loop, disk, found));
    EXPECT_EQ(found, "first");
    bytes.data.replace(0, 4096, std::string(4096, 'x'));
    EXPECT_EQ(code_of([&] { run(loop, get(loop, disk, found)); }), "INTERNAL_ERROR");

    const DatabaseHead head{.sequence = 3,
                            .generation = 9,
                            .pool = "0f0e0d0c-0000-4000-8000-00000000000b",
                            .made_seconds = 1,
                            .packed_bytes = 5,
                            .text_bytes = 6,
                            .digest = "d"};
    const std::string block = domain::head_text(head);
    EXPECT_EQ(block.size(), 4096U);
    EXPECT_EQ(domain::parse_head(block), head);
    EXPECT_EQ(domain::parse_head(block.substr(0, 100)), std::nullopt);
    DatabaseHead strange = head;
    strange.pool = "nobody";
    EXPECT_EQ(domain::parse_head(domain::head_text(strange)), std::nullopt);

    Bytes small;
    small.data.resize(std::size_t{2} << 20);
    MemoryDisk little(small);
    EXPECT_EQ(code_of([&] { run(loop, put(little, noise(loop, 3'000'000))); }), "INTERNAL_ERROR");
}

class DatabaseCopiesTest : public ::testing::Test {
  protected:
    DatabaseCopiesTest() {
        pool_.xapi->copies().open_by(
            [this](Ref<Vdi> disk, agent::Access) -> Task<std::unique_ptr<BlockDisk>> {
                EXPECT_EQ(disks_[disk].open, 0) << "two have the disk open";
                co_return std::make_unique<MemoryDisk>(disks_[disk]);
            });
        pool_.db().each<Sr>([&](Ref<Sr> ref, const Sr& sr) {
            if (sr.content_type == "user") sr_ = ref;
        });
    }

    std::string code(const std::string& method, std::vector<Value> args = {}) {
        return code_of([&] { pool_.call(method, std::move(args)); });
    }

    const Pool& pool() { return pool_.db().get(pool_.xapi->core().pool); }

    const Vdi& row(Ref<Vdi> disk) { return pool_.db().get(disk); }

    /// Names of VMs that a session on the disk's copy sees.
    std::vector<std::string> names_on(Ref<Vdi> disk) {
        const auto session = pool_.get<Ref<Session>>("VDI.open_database", {of(disk)});
        const auto& last = pool_.xapi->core().file_sessions.back();
        EXPECT_EQ(last.session, session);
        EXPECT_EQ(pool_.db().get(session).auth_user_name, "disaster-recovery");
        EXPECT_FALSE(pool_.db().get(session).is_local_superuser);
        std::vector<std::string> out;
        last.database->each<Vm>([&](Ref<Vm>, const Vm& vm) {
            if (!vm.is_control_domain && !vm.is_a_template) out.push_back(vm.name_label);
        });
        return out;
    }

    std::vector<std::string> messages() {
        std::vector<std::string> out;
        pool_.db().each<xenapi::Message>([&](Ref<xenapi::Message>, const xenapi::Message& row) {
            if (row.name.starts_with("METADATA_LUN")) out.push_back(row.name);
        });
        return out;
    }

    Ref<Vdi> enabled() {
        pool_.call("SR.enable_database_replication", {of(sr_)});
        return pool().metadata_VDIs.at(0);
    }

    SimPool pool_{29};
    std::map<Ref<Vdi>, Bytes> disks_;
    Ref<Sr> sr_;
};

TEST_F(DatabaseCopiesTest, a_copy_follows_the_database) {
    (void)pool_.make_vm("first");
    EXPECT_EQ(code("SR.assert_supports_database_replication", {of(sr_)}), "success");
    const Ref<Vdi> disk = enabled();
    EXPECT_EQ(row(disk).type, VdiType::metadata);
    EXPECT_TRUE(row(disk).metadata_latest);
    EXPECT_EQ(code("SR.enable_database_replication", {of(sr_)}), "success");
    EXPECT_EQ(pool().metadata_VDIs, std::vector{disk});
    EXPECT_THAT(names_on(disk), ::testing::ElementsAre("first"));
    EXPECT_EQ(pool_.get<std::string>("VDI.read_database_pool_uuid", {of(disk)}), pool().uuid);

    (void)pool_.make_vm("second");
    pool_.pass(11s);
    EXPECT_THAT(names_on(disk), ::testing::ElementsAre("first", "second"));
    // Nothing is written while nothing changes.
    pool_.pass(30s);
    const std::string before = disks_[disk].data.substr(0, 8192);
    pool_.pass(120s);
    EXPECT_EQ(disks_[disk].data.substr(0, 8192), before);

    // Nobody else may have it meanwhile.
    EXPECT_EQ(code("VDI.destroy", {of(disk)}), "VDI_IN_USE");
    EXPECT_EQ(code("VDI.forget", {of(disk)}), "VDI_IN_USE");
    EXPECT_EQ(code("PBD.unplug", {of(pool_.db().get(sr_).PBDs.front())}), "VDI_IN_USE");
    EXPECT_EQ(code("SR.disable_database_replication", {of(sr_)}), "success");
    EXPECT_EQ(pool_.db().find(disk), nullptr);
    EXPECT_EQ(code("SR.disable_database_replication", {of(sr_)}), "success");
    EXPECT_EQ(code("VDI.open_database", {of(disk)}), "HANDLE_INVALID");
}

TEST_F(DatabaseCopiesTest, a_broken_disk_is_told_of_once_and_so_is_its_recovery) {
    const Ref<Vdi> disk = enabled();
    disks_[disk].writes_left = 0;
    (void)pool_.make_vm("one");
    pool_.pass(180s);
    EXPECT_FALSE(row(disk).metadata_latest);
    EXPECT_THAT(messages(), ::testing::ElementsAre("METADATA_LUN_BROKEN"));
    disks_[disk].writes_left = 1'000'000;
    pool_.pass(120s);
    EXPECT_TRUE(row(disk).metadata_latest);
    EXPECT_THAT(messages(), ::testing::ElementsAre("METADATA_LUN_BROKEN", "METADATA_LUN_HEALTHY"));
    EXPECT_THAT(names_on(disk), ::testing::ElementsAre("one"));
}

TEST_F(DatabaseCopiesTest, what_cannot_be_copied_leaves_nothing) {
    pool_.xapi->copies().open_by([](Ref<Vdi>, agent::Access) -> Task<std::unique_ptr<BlockDisk>> {
        throw err::internal_error("no such disk");
        co_return nullptr;
    });
    const std::size_t before = pool_.db().count(xenapi::class_of<Vdi>());
    EXPECT_EQ(code("SR.enable_database_replication", {of(sr_)}), "CANNOT_ENABLE_REDO_LOG");
    EXPECT_EQ(code("pool.enable_redo_log", {of(sr_)}), "CANNOT_ENABLE_REDO_LOG");
    EXPECT_EQ(pool_.db().count(xenapi::class_of<Vdi>()), before);
    EXPECT_FALSE(pool().redo_log_enabled);

    pool_.call("PBD.unplug", {of(pool_.db().get(sr_).PBDs.front())});
    for (const char* method :
         {"SR.assert_supports_database_replication", "SR.enable_database_replication"})
        EXPECT_EQ(code(method, {of(sr_)}), "SR_HAS_NO_PBDS") << method;
    EXPECT_EQ(code("pool.enable_redo_log", {of(sr_)}), "CANNOT_ENABLE_REDO_LOG");
    EXPECT_EQ(code("pool.enable_redo_log", {of(pool_.xapi->core().this_host)}), "HANDLE_INVALID");
    pool_.call("PBD.plug", {of(pool_.db().get(sr_).PBDs.front())});
    pool_.db().transact([&](db::Txn& txn) {
        txn.each<xenapi::Sm>([&](Ref<xenapi::Sm> driver, const xenapi::Sm&) {
            txn.edit(driver).features.erase(std::string("SR_METADATA"));
        });
    });
    EXPECT_EQ(code("SR.enable_database_replication", {of(sr_)}), "SR_OPERATION_NOT_SUPPORTED");
}

TEST_F(DatabaseCopiesTest, the_redo_log_has_one_disk_that_outlives_it) {
    pool_.call("pool.enable_redo_log", {of(sr_)});
    const Ref<Vdi> log = pool().redo_log_vdi;
    EXPECT_TRUE(pool().redo_log_enabled);
    EXPECT_EQ(row(log).type, VdiType::redo_log);
    EXPECT_EQ(code("VDI.destroy", {of(log)}), "REDO_LOG_IS_ENABLED");
    EXPECT_EQ(code("VDI.open_database", {of(log)}), "VDI_INCOMPATIBLE_TYPE");
    EXPECT_EQ(pool_.get<std::string>("VDI.read_database_pool_uuid", {of(log)}), "");
    const std::string first = disks_[log].data.substr(0, 8192);
    (void)pool_.make_vm("one");
    pool_.pass(11s);
    EXPECT_NE(disks_[log].data.substr(0, 8192), first);
    pool_.call("pool.disable_redo_log");
    EXPECT_FALSE(pool().redo_log_enabled);
    const std::string last = disks_[log].data.substr(0, 8192);
    (void)pool_.make_vm("two");
    pool_.pass(30s);
    EXPECT_EQ(disks_[log].data.substr(0, 8192), last);
    pool_.call("pool.enable_redo_log", {of(sr_)});
    EXPECT_EQ(pool().redo_log_vdi, log);
    pool_.call("pool.disable_redo_log");
    EXPECT_EQ(code("VDI.destroy", {of(log)}), "success");
}

TEST_F(DatabaseCopiesTest, who_finds_the_disk_learns_what_it_is) {
    (void)pool_.make_vm("lost");
    const Ref<Vdi> disk = enabled();
    const std::string uuid = row(disk).uuid;
    // The records of another pool have none of it: its disk is there, its row is not.
    pool_.db().transact([&](db::Txn& txn) { txn.erase(disk); });
    pool_.pass(6s);
    pool_.call("SR.scan", {of(sr_)});
    const auto found = pool_.db().by_uuid<Vdi>(uuid);
    ASSERT_TRUE(found);
    disks_[*found] = disks_[disk];
    EXPECT_EQ(row(*found).type, VdiType::metadata);
    EXPECT_TRUE(row(*found).metadata_of_pool.null());
    EXPECT_EQ(pool_.get<std::string>("VDI.read_database_pool_uuid", {of(*found)}), pool().uuid);
    EXPECT_THAT(names_on(*found), ::testing::ElementsAre("lost"));
    disks_[*found].data.assign(disks_[*found].data.size(), 'x');
    EXPECT_EQ(code("VDI.open_database", {of(*found)}), "COULD_NOT_IMPORT_DATABASE");
}

TEST_F(DatabaseCopiesTest, a_recovery_brings_repositories_in_and_takes_them_out) {
    const std::string type = pool_.db().get(sr_).type;
    const Value place = text_map({{"location", "/srv/lost"}});
    const auto host = pool_.xapi->core().this_host;
    const auto uuid =
        pool_.get<std::string>("SR.make", {of(host), place, Value(std::int64_t{0}), Value("lost"),
                                           Value(""), Value(type), Value("user"), text_map({})});
    const Ref<Sr> lost = *pool_.db().by_uuid<Sr>(uuid);
    const auto recover = [&](const std::string& wanted, const std::string& driver) {
        return pool_.get<Ref<xenapi::DrTask>>(
            "DR_task.create", {Value(driver), place, Value(wire::Array{Value(wanted)})});
    };
    // What has a record is left to whoever made it.
    const auto nothing = recover(uuid, type);
    EXPECT_TRUE(pool_.db().get(nothing).introduced_SRs.empty());
    pool_.call("DR_task.destroy", {of(nothing)});
    EXPECT_NE(pool_.db().find(lost), nullptr);

    pool_.call("PBD.unplug", {of(pool_.db().get(lost).PBDs.front())});
    pool_.call("SR.forget", {of(lost)});
    EXPECT_TRUE(pool_.db().get(recover(pool().uuid, type)).introduced_SRs.empty());
    const auto recovery = recover(uuid, type);
    const Ref<Sr> found = pool_.db().get(recovery).introduced_SRs.at(0);
    EXPECT_EQ(pool_.db().get(found).uuid, uuid);
    EXPECT_TRUE(pool_.db().get(found).shared);
    ASSERT_EQ(pool_.db().get(found).PBDs.size(), 1U);
    EXPECT_TRUE(pool_.db().get(pool_.db().get(found).PBDs.front()).currently_attached);
    pool_.call("DR_task.destroy", {of(recovery)});
    EXPECT_EQ(pool_.db().find(found), nullptr);
    EXPECT_EQ(code_of([&] { recover(uuid, "none"); }), "SR_UNKNOWN_DRIVER");
    EXPECT_EQ(code("DR_task.destroy", {of(recovery)}), "HANDLE_INVALID");
    pool_.db().transact([&](db::Txn& txn) {
        txn.each<xenapi::Sm>([&](Ref<xenapi::Sm> driver, const xenapi::Sm&) {
            txn.edit(driver).features.erase(std::string("SR_METADATA"));
        });
    });
    EXPECT_EQ(code_of([&] { recover(uuid, type); }), "OPERATION_NOT_ALLOWED");
}

}  // namespace
}  // namespace basalt::testing
