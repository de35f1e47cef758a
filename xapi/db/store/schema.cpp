#include "xapi/db/store/schema.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "xapi/db/store/commit_text.hpp"

namespace basalt::db::sqlite {

namespace {

/// Version 1 had no order of creation and remembered no deletions.
constexpr const char* version_1 = R"(
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows(class TEXT NOT NULL, ref TEXT NOT NULL, generation INTEGER NOT NULL,
                  json TEXT NOT NULL, PRIMARY KEY(class, ref));
CREATE TABLE commits(generation INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, value TEXT NOT NULL);
INSERT INTO meta VALUES('epoch', 1), ('reserved', 1);
)";

constexpr const char* from_1_to_2 = R"(
ALTER TABLE rows RENAME TO rows_1;
CREATE TABLE rows(serial INTEGER PRIMARY KEY, class TEXT NOT NULL, ref TEXT NOT NULL,
                  created INTEGER NOT NULL, modified INTEGER NOT NULL, json TEXT NOT NULL);
INSERT INTO rows SELECT row_number() OVER (ORDER BY generation, class, ref), class, ref, generation,
                        generation, json FROM rows_1;
DROP TABLE rows_1;
CREATE TABLE tombstones(class TEXT NOT NULL, ref TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
                        generation INTEGER NOT NULL, deleted INTEGER NOT NULL);
CREATE INDEX tombstones_by_time ON tombstones(deleted, generation);
INSERT OR REPLACE INTO meta SELECT 'lost_below', value FROM meta WHERE key = 'reserved';
)";

/// Step n leads from version n to n + 1. A released step is never edited.
constexpr std::array<const char*, schema_version> steps{version_1, from_1_to_2};

}  // namespace

void migrate(Connection& connection) {
    const std::uint64_t version = connection.query_number("PRAGMA user_version");
    const std::uint64_t application = connection.query_number("PRAGMA application_id");
    const std::uint64_t tables = connection.query_number("SELECT count(*) FROM sqlite_master");
    if (tables > 0 && application != application_id) {
        throw Error(SQLITE_NOTADB, "the file is not a store of this product");
    }
    if (version > schema_version) {
        throw Error(SQLITE_SCHEMA, "the store is of version " + std::to_string(version) +
                                       ", this program knows up to " +
                                       std::to_string(schema_version));
    }
    if (version == schema_version) return;
    Transaction transaction(connection);
    for (std::uint64_t step = version; step < schema_version; ++step)
        connection.exec(steps[step]);
    connection.exec(("PRAGMA user_version=" + std::to_string(schema_version)).c_str());
    connection.exec(("PRAGMA application_id=" + std::to_string(application_id)).c_str());
    transaction.commit();
}

std::uint64_t get_meta(Connection& connection, std::string_view key) {
    Statement statement(connection, "SELECT value FROM meta WHERE key = ?");
    return statement.bind(key).step() ? statement.number(0) : 0;
}

void set_meta(Connection& connection, std::string_view key, std::uint64_t value) {
    Statement(connection, "INSERT OR REPLACE INTO meta VALUES(?, ?)").bind(key).bind(value).run();
}

Folder::Folder(Connection& connection)
    : put_(connection,
           "INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(serial) DO UPDATE SET "
           "modified = excluded.modified, json = excluded.json"),
      erase_(connection, "DELETE FROM rows WHERE serial = ?"),
      bury_(connection, "INSERT OR REPLACE INTO tombstones VALUES(?, ?, ?, ?, ?)") {}

void Folder::fold(const Change& change, std::uint64_t generation, std::int64_t time_s) {
    const std::string ref = change.ref.text();
    if (change.json) {
        put_.bind(change.serial).bind(change.class_name).bind(ref).bind(change.created);
        put_.bind(generation).bind(*change.json).run();
        return;
    }
    erase_.bind(change.serial).run();
    bury_.bind(change.class_name)
        .bind(ref)
        .bind(change.created)
        .bind(generation)
        .bind(time_s)
        .run();
}

void fold_log(Connection& connection) {
    Folder folder(connection);
    Statement log(connection, "SELECT value FROM commits ORDER BY generation");
    while (log.step()) {
        const CommitRecord record = decode_commit(log.text(0));
        for (const Change& change : record.changes)
            folder.fold(change, record.generation, record.time_s);
    }
    connection.exec("DELETE FROM commits");
}

void trim_tombstones(Connection& connection, std::int64_t now_s) {
    const std::uint64_t count = connection.query_number("SELECT count(*) FROM tombstones");
    const std::uint64_t surplus = count > tombstones_max ? count - tombstones_max : 0;
    std::uint64_t lost = 0;
    Statement old(connection, "SELECT max(generation) FROM tombstones WHERE deleted < ?");
    if (old.bind(now_s - tombstone_seconds).step()) lost = old.number(0);
    Statement much(connection,
                   "SELECT generation FROM tombstones ORDER BY deleted, generation "
                   "LIMIT 1 OFFSET ?");
    if (surplus > 0 && much.bind(surplus - 1).step()) lost = std::max(lost, much.number(0));
    if (lost == 0) return;
    Statement(connection, "DELETE FROM tombstones WHERE generation <= ?").bind(lost).run();
    set_meta(connection, "lost_below", std::max(lost, get_meta(connection, "lost_below")));
}

}  // namespace basalt::db::sqlite
