// A dump brings back what there was, or says why not.
#include "xapi/db/store/dump.hpp"

#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "idl/records.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/schema.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/db/store/store_testing.hpp"

namespace basalt::db {
namespace {

using xenapi::Host;
using xenapi::Pool;
using xenapi::Vm;

const std::string host_uuid = "0f0e0d0c-0000-4000-8000-00000000000a";

std::string read_all(const std::string& path) {
    const std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

void write_all(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

/// All stored rows of all classes, as texts, in order of creation.
std::vector<std::string> rows_of(const Database& db) {
    std::vector<std::string> out;
    for (const ClassInfo& cls : xenapi::classes())
        db.each(cls, [&](const RowPtr& row) {
            out.push_back(std::string(cls.name) + " " + row->ref.text() + " ");
            xenapi::write_stored(cls, row->record.get(), out.back());
        });
    return out;
}

class DumpTest : public testing::Test {
  protected:
    DumpTest() { open(); }

    void open() {
        db_.reset();
        store_.reset();
        store_ = std::make_unique<SqliteStore>(loop_, SqliteOptions{.path = path_});
        db_ = std::make_unique<Database>(loop_, *store_, nullptr);
    }

    void close() {
        db_.reset();
        store_.reset();
    }

    void settle() { run_real(loop_, db_->durable(db_->published())); }

    /// A pool of a host, VMs with texts that XML and JSON would bend, and a deletion.
    void populate() {
        vm_ = db_->transact([](Txn& txn) {
            Host host;
            host.uuid = host_uuid;
            Pool pool;
            pool.uuid = "0f0e0d0c-0000-4000-8000-00000000000b";
            pool.master = txn.insert(std::move(host));
            txn.insert(std::move(pool));
            Vm vm;
            vm.name_label = "<a & \"b\">\n\t]]> \x7f \xc3\xa4";
            vm.other_config.insert_or_assign("", "'");
            txn.insert(Vm{});
            return txn.insert(std::move(vm));
        });
        const auto gone = db_->transact([](Txn& txn) { return txn.insert(Vm{}); });
        db_->transact([&](Txn& txn) { txn.erase(gone); });
        settle();
    }

    std::string dumped() {
        write_dump(path_, dump_);
        return read_all(dump_);
    }

    std::string refusal(const std::string& text) {
        write_all(dump_, text);
        try {
            StoreContents contents = read_dump(dump_);
            (void)check_contents(contents, host_uuid);
        } catch (const ApiError& error) {
            return error.code();
        }
        return "";
    }

    TemporaryFolder folder_;
    std::string path_ = folder_.file("db");
    std::string dump_ = folder_.file("dump.xml");
    RealLoop loop_{1};
    std::unique_ptr<SqliteStore> store_;
    std::unique_ptr<Database> db_;
    Ref<Vm> vm_;
};

TEST_F(DumpTest, a_restore_brings_the_same_rows_and_a_later_epoch) {
    populate();
    const auto before = rows_of(*db_);
    const std::string token = db_->token(db_->published());
    const Epoch epoch = db_->epoch();
    (void)dumped();  // while the store is in use

    for (const auto& entry : std::filesystem::directory_iterator(folder_.file("")))
        EXPECT_FALSE(entry.path().string().contains("scratch")) << entry.path();
    write_all(path_ + ".scratch-1-1", "of somebody who was killed");

    db_->transact([&](Txn& txn) {
        txn.erase(vm_);
        txn.insert(Vm{});
    });
    settle();
    StoreContents contents = read_dump(dump_);
    EXPECT_EQ(check_contents(contents, host_uuid).rows.at("VM"), 2U);
    stage_restore(contents, path_);
    EXPECT_NE(rows_of(*db_), before) << "nothing happens before the next start";
    open();
    EXPECT_EQ(rows_of(*db_), before);
    EXPECT_GT(db_->epoch(), epoch);
    EXPECT_EQ(db_->parse_token(token).error(), TokenProblem::foreign);
    EXPECT_FALSE(std::filesystem::exists(path_ + ".scratch-1-1"));
    std::size_t deleted = 0;
    db_->each_deleted(0, [&](const Tombstone&) { ++deleted; });
    EXPECT_EQ(deleted, 1U);

    // What was there is still to be had, and the next start is a start like any other.
    EXPECT_EQ(check_store(path_ + ".replaced").rows.at("VM"), 2U);
    const Epoch restored = db_->epoch();
    open();
    EXPECT_EQ(rows_of(*db_), before);
    EXPECT_EQ(db_->epoch(), restored);

    // The same again within the hour: still later.
    stage_restore(contents, path_);
    open();
    EXPECT_GT(db_->epoch(), restored);
}

TEST_F(DumpTest, a_broken_store_can_be_restored) {
    populate();
    const auto before = rows_of(*db_);
    (void)dumped();
    close();
    write_all(path_, "no database");
    EXPECT_THROW((void)check_store(path_), ApiError);
    stage_restore(read_dump(dump_), path_);
    open();
    EXPECT_EQ(rows_of(*db_), before);
}

TEST_F(DumpTest, what_is_no_whole_dump_is_refused) {
    populate();
    const std::string good = dumped();
    EXPECT_EQ(refusal(good), "");
    EXPECT_EQ(refusal(""), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(refusal("<html/>"), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(refusal(good.substr(0, good.size() / 2)), "COULD_NOT_IMPORT_DATABASE");

    const auto changed = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        const std::size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return refusal(text.replace(at, from.size(), to));
    };
    EXPECT_EQ(changed("format=\"1\"", "format=\"2\""), "RESTORE_INCOMPATIBLE_VERSION");
    EXPECT_EQ(changed("schema=\"2\"", "schema=\"3\""), "RESTORE_INCOMPATIBLE_VERSION");
    EXPECT_EQ(changed("<row", "<cat"), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed("<end rows=\"", "<end rows=\"1"), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed("serial=\"", "serial=\"-"), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed("epoch=\"", "epoch=\"999999999"), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed(">{", ">["), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed(host_uuid, "0f0e0d0c-0000-4000-8000-00000000000c"),
              "RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP");
    const std::size_t row = good.find("  <row");
    const std::string first = good.substr(row, good.find("</row>", row) + 7 - row);
    EXPECT_EQ(changed(first, ""), "COULD_NOT_IMPORT_DATABASE");
    EXPECT_EQ(changed(first, first + first), "COULD_NOT_IMPORT_DATABASE");
}

TEST_F(DumpTest, who_restores_leads_the_pool) {
    populate();
    const std::string other_uuid = "0f0e0d0c-0000-4000-8000-00000000000d";
    db_->transact([&](Txn& txn) {
        Host host;
        host.uuid = other_uuid;
        txn.insert(std::move(host));
    });
    settle();
    (void)dumped();
    StoreContents contents = read_dump(dump_);
    (void)check_contents(contents, other_uuid);
    stage_restore(contents, path_);
    open();
    db_->each<Pool>([&](Ref<Pool>, const Pool& pool) {
        EXPECT_EQ(db_->get(pool.master).uuid, other_uuid);
        EXPECT_EQ(pool.uuid, "0f0e0d0c-0000-4000-8000-00000000000b");
    });
}

TEST_F(DumpTest, an_old_file_is_dumped_checked_and_migrated) {
    const std::string old = folder_.file("old");
    {
        sqlite::Connection file(old, sqlite::Connection::Mode::read_write);
        file.exec(read_all("xapi/db/store/testdata/store_v1.sql").c_str());
    }
    const StoreReport report = check_store(old);
    EXPECT_EQ(report.version, 1U);
    EXPECT_EQ(report.rows.at("VM"), 2U);
    write_dump(old, dump_);
    EXPECT_EQ(read_dump(dump_).rows.size(), 2U);
    EXPECT_EQ(check_store(old).version, 1U) << "looking changes nothing";

    const std::string kept = migrate_store(old);
    EXPECT_EQ(kept, old + ".v1");
    EXPECT_EQ(check_store(kept).version, 1U);
    EXPECT_EQ(check_store(old).version, sqlite::schema_version);
    EXPECT_EQ(check_store(old).rows.at("VM"), 2U);
    EXPECT_EQ(migrate_store(old), "");
    EXPECT_THROW((void)migrate_store(path_), ApiError) << "a store in use";
}

TEST_F(DumpTest, a_backup_is_a_store_of_its_own) {
    populate();
    backup_store(path_, folder_.file("copy"));
    EXPECT_EQ(check_store(folder_.file("copy")).rows, check_store(path_).rows);
    EXPECT_THROW(backup_store(folder_.file("nobody"), folder_.file("x")), ApiError);
    EXPECT_FALSE(std::filesystem::exists(folder_.file("x")));
}

}  // namespace
}  // namespace basalt::db
