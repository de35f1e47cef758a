// What only the store on disk can show: kills, old files, full disks.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "idl/records.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/schema.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/db/store/store_testing.hpp"

namespace basalt::db {
namespace {

using xenapi::Vm;

constexpr int writers = 16;

/// Counts up in its VM for ever and tells the pipe each number that is durable.
Task<void> count_up(Database& db, int id, int pipe) {
    Vm fresh;
    fresh.name_label = "w" + std::to_string(id);
    fresh.user_version = 0;
    const auto vm = db.transact([&](Txn& txn) { return txn.insert(fresh); });
    for (std::int64_t n = 1;; ++n) {
        db.transact([&](Txn& txn) { txn.edit(vm).user_version = n; });
        co_await db.durable(db.published());
        const std::array<std::int64_t, 2> said{id, n};
        if (::write(pipe, said.data(), sizeof said) != sizeof said) ::_exit(1);
    }
}

[[noreturn]] void child(const std::string& path, int pipe) {
    RealLoop loop(1);
    SqliteStore store(loop, {.path = path});
    Database db(loop, store, nullptr);
    std::vector<std::shared_ptr<Job>> jobs;
    for (int id = 0; id < writers; ++id)
        jobs.push_back(spawn(loop, "writer", count_up(db, id, pipe)));
    loop.run();
    ::_exit(1);
}

/// Runs the child, kills it after a while, and returns what it had acknowledged.
std::array<std::int64_t, writers> killed_run(const std::string& path,
                                             std::chrono::milliseconds after) {
    int ends[2] = {};
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t pid = ::fork();
    if (pid == 0) child(path, ends[1]);
    ::close(ends[1]);
    const UniqueFd pipe{ends[0]};
    std::array<std::int64_t, writers> acknowledged{};
    std::array<std::int64_t, 2> said{};
    const auto start = std::chrono::steady_clock::now();
    bool killed = false;
    while (::read(pipe.get(), said.data(), sizeof said) == sizeof said) {
        acknowledged.at(static_cast<std::size_t>(said[0])) = said[1];
        if (!killed && std::chrono::steady_clock::now() - start > after) {
            ::kill(pid, SIGKILL);
            killed = true;  // and read on: what it said before it died counts
        }
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return acknowledged;
}

TEST(SqliteKill, loses_no_acknowledged_write) {
    std::mt19937 random(20260101);
    for (int round = 0; round < 8; ++round) {
        const TemporaryFolder folder;
        const std::string path = folder.file("db");
        const auto acknowledged = killed_run(path, std::chrono::milliseconds(50 + random() % 400));
        RealLoop loop(1);
        SqliteStore store(loop, {.path = path});
        const Database db(loop, store, nullptr);
        std::int64_t total = 0;
        for (int id = 0; id < writers; ++id) {
            const auto found = db.by_name_label<Vm>("w" + std::to_string(id));
            const std::int64_t kept = found.empty() ? 0 : db.get(found.at(0)).user_version;
            const std::int64_t promised = acknowledged.at(static_cast<std::size_t>(id));
            EXPECT_GE(kept, promised) << "writer " << id;
            EXPECT_LE(kept, promised + 1) << "writer " << id;  // asked for, not yet answered
            total += promised;
        }
        EXPECT_GT(total, 0);
        RecordProperty("acknowledged", static_cast<int>(total));
    }
}

/// A file as version 1 left it.
void write_old_file(const std::string& path) {
    sqlite::Connection file(path, sqlite::Connection::Mode::read_write);
    const std::ifstream script("xapi/db/store/testdata/store_v1.sql");
    ASSERT_TRUE(script) << "run from the top of the tree";
    std::stringstream text;
    text << script.rdbuf();
    file.exec(text.str().c_str());
}

TEST(SqliteSchema, brings_an_old_file_up_to_date) {
    const TemporaryFolder folder;
    write_old_file(folder.file("db"));
    RealLoop loop(1);
    SqliteStore store(loop, {.path = folder.file("db")});
    Database db(loop, store, nullptr);
    const Rows held = db.snapshot(xenapi::class_of<Vm>());
    const auto rows = held.pointers();
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0]->as<Vm>().name_label, "first");
    EXPECT_EQ(rows[1]->as<Vm>().name_label, "second");
    EXPECT_GE(db.published(), 5000U);
    EXPECT_FALSE(db.covers(xenapi::class_of<Vm>(), 42));
    db.transact([&](Txn& txn) { txn.erase(Ref<Vm>{rows[0]->ref}); });
    run_real(loop, db.durable(db.published()));
}

TEST(SqliteSchema, refuses_a_newer_file_and_a_foreign_one) {
    const TemporaryFolder folder;
    RealLoop loop(1);
    Recorder recorder(loop);
    {
        SqliteStore store(loop, {.path = folder.file("db")});
        (void)store.load(recorder);
    }
    {
        sqlite::Connection file(folder.file("db"), sqlite::Connection::Mode::read_write);
        file.exec("PRAGMA user_version=99");
        sqlite::Connection other(folder.file("other"), sqlite::Connection::Mode::read_write);
        other.exec("CREATE TABLE cats(name)");
    }
    for (const char* name : {"db", "other"}) {
        SqliteStore store(loop, {.path = folder.file(name)});
        EXPECT_THROW((void)store.load(recorder), ApiError) << name;
    }
}

TEST(SqliteSpace, below_the_floor_only_facts_are_taken) {
    const TemporaryFolder folder;
    RealLoop loop(1);
    // More than any disk has free.
    SqliteStore store(loop, {.path = folder.file("db"), .free_floor = std::uint64_t{1} << 60});
    Database db(loop, store, nullptr);
    EXPECT_THROW(db.transact([](Txn& txn) { txn.insert(Vm{}); }), ApiError);
    db.transact([](Txn& txn) { txn.insert(xenapi::Session{}); });
    db.transact_fact([](Txn& txn) { txn.insert(Vm{}); });
    run_real(loop, db.durable(db.published()));
}

TEST(SqliteEpoch, can_be_advanced_on_demand_and_spoils_old_tokens) {
    const TemporaryFolder folder;
    RealLoop loop(1);
    std::string token;
    {
        SqliteStore store(loop, {.path = folder.file("db")});
        const Database db(loop, store, nullptr);
        token = db.token(db.published());
    }
    {
        SqliteStore store(loop, {.path = folder.file("db")});
        const Database db(loop, store, nullptr);
        EXPECT_TRUE(db.parse_token(token));
    }
    SqliteStore store(loop, {.path = folder.file("db"), .new_epoch = true});
    const Database db(loop, store, nullptr);
    EXPECT_EQ(db.parse_token(token).error(), TokenProblem::foreign);
    EXPECT_GT(db.token(db.published()), token);  // fixed width: text order is number order
}

}  // namespace
}  // namespace basalt::db
