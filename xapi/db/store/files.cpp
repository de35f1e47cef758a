#include "xapi/db/store/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/durable_file.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "xapi/db/store/schema.hpp"

namespace basalt::db::sqlite {

namespace fs = std::filesystem;

namespace {

std::string folder_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
}

void make_private(const std::string& path) {
    fs::remove(path);
    const UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (!fd) throw err::internal_error("create " + path + ": " + std::strerror(errno));
}

/// One file without a log beside it, as it lies on a shelf.
void settle(Connection& connection) {
    connection.exec("PRAGMA journal_mode=DELETE");
    connection.exec("PRAGMA synchronous=FULL");
    set_meta(connection, "restored", 1);
}

Uuid ref_of(std::string_view text) {
    const auto uuid = Uuid::parse(text);
    if (!uuid) throw err::internal_error("the store has a reference " + std::string(text));
    return *uuid;
}

void fill(Connection& connection, const StoreContents& contents, std::uint64_t epoch) {
    Transaction transaction(connection);
    connection.exec("DELETE FROM rows");
    Statement rows(connection, "INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?)");
    for (const StoredRow& row : contents.rows) {
        const std::string ref = row.ref.text();
        rows.bind(row.serial).bind(row.class_name).bind(ref).bind(row.created);
        rows.bind(row.modified).bind(row.json).run();
    }
    Statement dead(connection, "INSERT INTO tombstones VALUES(?, ?, ?, ?, ?)");
    for (const StoredTombstone& one : contents.tombstones) {
        const std::string ref = one.ref.text();
        dead.bind(one.class_name).bind(ref).bind(one.created).bind(one.generation);
        dead.bind(one.deleted_s).run();
    }
    set_meta(connection, "epoch", epoch);
    set_meta(connection, "store_id", contents.store_id);
    set_meta(connection, "reserved", contents.reserved);
    set_meta(connection, "lost_below", contents.lost_below);
    transaction.commit();
}

void move_if_there(const std::string& file, const std::string& to) {
    if (fs::exists(file)) {
        fs::rename(file, to);
    } else {
        fs::remove(to);
    }
}

/// With its log, should it have one that cannot be entered: the next store under this name must not
/// find it.
void put_aside(const std::string& store) {
    if (!fs::exists(store)) return;
    try {
        Connection old(store, Connection::Mode::read_write);
        old.exec("PRAGMA journal_mode=DELETE");
    } catch (const Error& error) {
        // Perhaps that is why it is replaced.
        log::warn("db.old_store_broken", {{"store", store}, {"error", error.what()}});
    }
    const std::string aside = replaced_name(store);
    move_if_there(store + "-wal", aside + "-wal");
    fs::remove(store + "-shm");
    rename_durably(store, aside);
}

}  // namespace

UniqueFd lock_store(const std::string& store) {
    const std::string name = store + ".lock";
    UniqueFd fd{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (!fd) throw err::internal_error("store lock " + store + ": " + std::strerror(errno));
    keep_owner(name, store);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
        throw err::internal_error("the store " + store + " is open in another process");
    return fd;
}

StoreContents read_heading(Connection& connection) {
    StoreContents contents;
    contents.epoch = get_meta(connection, "epoch");
    contents.store_id = get_meta(connection, "store_id");
    contents.reserved = get_meta(connection, "reserved");
    contents.first = contents.reserved - std::min(contents.reserved, generation_block);
    contents.lost_below = get_meta(connection, "lost_below");
    return contents;
}

void each_row(Connection& connection, FunctionRef<void(StoredRow)> f) {
    Statement rows(connection,
                   "SELECT serial, class, ref, created, modified, json FROM rows ORDER BY serial");
    while (rows.step())
        f({std::string(rows.text(1)), ref_of(rows.text(2)), rows.number(0), rows.number(3),
           rows.number(4), std::string(rows.text(5))});
}

void each_tombstone(Connection& connection, FunctionRef<void(StoredTombstone)> f) {
    Statement dead(connection,
                   "SELECT class, ref, created, generation, deleted FROM tombstones "
                   "ORDER BY generation, rowid");
    while (dead.step())
        f({std::string(dead.text(0)), ref_of(dead.text(1)), dead.number(2), dead.number(3),
           static_cast<std::int64_t>(dead.number(4))});
}

StoreContents read_contents(Connection& connection) {
    StoreContents contents = read_heading(connection);
    each_row(connection, [&](StoredRow row) { contents.rows.push_back(std::move(row)); });
    each_tombstone(connection,
                   [&](StoredTombstone one) { contents.tombstones.push_back(std::move(one)); });
    return contents;
}

void copy_database(const std::string& from, const std::string& to) {
    const std::string partial = to + ".partial";
    make_private(partial);
    {
        Connection source(from, Connection::Mode::read_only);
        Connection target(partial, Connection::Mode::read_write);
        sqlite3_backup* backup = sqlite3_backup_init(target.get(), "main", source.get(), "main");
        if (backup == nullptr) fail(target.get(), SQLITE_ERROR);
        // In one step: one read transaction, so one state of the store.
        sqlite3_backup_step(backup, -1);
        const int code = sqlite3_backup_finish(backup);
        if (code != SQLITE_OK) fail(target.get(), code);
        settle(target);
    }
    rename_durably(partial, to);
}

void write_database(const StoreContents& contents, std::uint64_t epoch, const std::string& to) {
    const std::string partial = to + ".partial";
    make_private(partial);
    {
        Connection target(partial, Connection::Mode::read_write);
        migrate(target);
        fill(target, contents, epoch);
        settle(target);
    }
    rename_durably(partial, to);
}

void keep_owner(const std::string& file, const std::string& like) {
    struct stat facts{};
    if (::geteuid() != 0 || ::stat(like.c_str(), &facts) != 0) return;
    if (::chown(file.c_str(), facts.st_uid, facts.st_gid) != 0)
        throw err::internal_error("chown " + file + ": " + std::strerror(errno));
}

std::string restored_name(const std::string& store) {
    return store + ".restored";
}

std::string replaced_name(const std::string& store) {
    return store + ".replaced";
}

void remove_scratch(const std::string& store) {
    const std::string begin = fs::path(store).filename().string() + ".scratch-";
    std::vector<fs::path> found;
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder_of(store), failed))
        if (entry.path().filename().string().starts_with(begin)) found.push_back(entry.path());
    for (const fs::path& path : found)
        fs::remove(path, failed);
}

void take_restored(const std::string& store) {
    const std::string waiting = restored_name(store);
    if (!fs::exists(waiting)) return;
    put_aside(store);
    rename_durably(waiting, store);
    log::info("db.restored", {{"store", store}, {"old", replaced_name(store)}});
}

}  // namespace basalt::db::sqlite
