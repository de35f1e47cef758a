#include "xapi/db/store/store_sqlite.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/db/store/files.hpp"
#include "xapi/db/store/sqlite_writer.hpp"

namespace basalt::db {

namespace {

using sqlite::Connection;

constexpr auto checkpoint_interval = std::chrono::milliseconds(200);

/// Who hears from the writer. Outlives the store in closures that the loop has not run yet.
struct Audience {
    StoreListener* listener = nullptr;  // loop only
};

std::uint64_t free_bytes(const std::string& path) {
    struct statvfs info{};
    if (::statvfs(path.c_str(), &info) != 0) return 0;
    return std::uint64_t{info.f_bavail} * info.f_frsize;
}

void set_up(Connection& connection, const SqliteOptions& options) {
    connection.exec("PRAGMA journal_mode=WAL");
    connection.exec("PRAGMA synchronous=FULL");
    connection.exec("PRAGMA wal_autocheckpoint=0");
    if (options.pages_max > 0) {
        connection.exec(("PRAGMA max_page_count=" + std::to_string(options.pages_max)).c_str());
    }
}

/// Makes the ballast again once there is room for it.
void keep_ballast(const std::string& path) {
    const std::string name = path + ".ballast";
    const UniqueFd fd{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (!fd) return;
    if (::posix_fallocate(fd.get(), 0, static_cast<off_t>(ballast_bytes)) != 0) {
        ::unlink(name.c_str());
    }
}

}  // namespace

struct SqliteStore::State {
    State(Loop& loop_in, SqliteOptions options_in)
        : loop(loop_in), options(std::move(options_in)), lock(sqlite::lock_store(options.path)) {}

    Connection open();
    void enter_epoch(Connection& connection);
    sqlite::Writer::Events events();
    void watch();
    void look_at_space();
    void stop_watching();

    Loop& loop;
    SqliteOptions options;
    UniqueFd lock;
    std::shared_ptr<Audience> audience = std::make_shared<Audience>();
    std::atomic<bool> accepts = true;

    std::mutex mutex;
    std::condition_variable wake;
    bool stopping = false;
    std::thread watcher;
    std::optional<sqlite::Writer> writer;
};

/// Opens, migrates, folds the log, enters the epoch and reserves a block: one durable step.
Connection SqliteStore::State::open() {
    sqlite::remove_scratch(options.path);
    sqlite::take_restored(options.path);
    Connection connection(options.path, Connection::Mode::read_write);
    set_up(connection, options);
    sqlite::migrate(connection);
    sqlite::Transaction transaction(connection);
    sqlite::fold_log(connection);
    sqlite::trim_tombstones(connection, loop.wall_ns() / 1'000'000'000);
    enter_epoch(connection);
    transaction.commit();
    return connection;
}

void SqliteStore::State::enter_epoch(Connection& connection) {
    if (sqlite::get_meta(connection, "store_id") == 0) {
        sqlite::set_meta(connection, "store_id", (loop.random() >> 1) | 1);
    }
    if (options.new_epoch || sqlite::get_meta(connection, "restored") != 0) {
        const std::uint64_t old = sqlite::get_meta(connection, "epoch");
        sqlite::set_meta(connection, "epoch", next_epoch(old, loop.wall_ns() / 1'000'000'000));
        sqlite::set_meta(connection, "restored", 0);
    }
    const std::uint64_t first = sqlite::get_meta(connection, "reserved");
    sqlite::set_meta(connection, "reserved", first + generation_block);
}

sqlite::Writer::Events SqliteStore::State::events() {
    // The writer's thread only posts; the audience is read on the loop.
    return {
        .stored =
            [this, to = audience](std::uint64_t generation) {
                loop.post([to, generation] {
                    if (to->listener != nullptr) to->listener->stored(generation);
                });
            },
        .reserved =
            [this, to = audience](std::uint64_t until) {
                loop.post([to, until] {
                    if (to->listener != nullptr) to->listener->reserved(until);
                });
            },
        .failed =
            [this, to = audience](std::string reason) {
                loop.post([to, reason = std::move(reason)] {
                    if (to->listener != nullptr) to->listener->failed(reason);
                });
            },
    };
}

void SqliteStore::State::watch() {
    std::optional<Connection> connection;
    bool sick = false;
    std::unique_lock guard(mutex);
    while (!wake.wait_for(guard, checkpoint_interval, [this] { return stopping; })) {
        guard.unlock();
        look_at_space();
        try {
            if (!connection) {
                connection.emplace(options.path, Connection::Mode::read_write);
                connection->exec("PRAGMA wal_autocheckpoint=0");
            }
            connection->checkpoint(SQLITE_CHECKPOINT_PASSIVE);
            sick = false;
        } catch (const sqlite::Error& e) {
            // A full disk, say. The log only grows until it works again.
            if (!std::exchange(sick, true)) log::error("db.checkpoint", {{"error", e.what()}});
        }
        guard.lock();
    }
}

void SqliteStore::State::look_at_space() {
    const std::uint64_t space = free_bytes(options.path);
    if (accepts && space < options.free_floor) {
        accepts = false;
        log::error("db.read_only", {{"free_bytes", space}, {"floor_bytes", options.free_floor}});
    } else if (!accepts && space > options.free_floor + options.free_floor / 4) {
        keep_ballast(options.path);
        accepts = true;
        log::info("db.writable", {{"free_bytes", space}});
    }
}

void SqliteStore::State::stop_watching() {
    {
        const std::lock_guard guard(mutex);
        stopping = true;
    }
    wake.notify_one();
    if (watcher.joinable()) watcher.join();
}

SqliteStore::SqliteStore(Loop& loop, SqliteOptions options)
    : state_(std::make_unique<State>(loop, std::move(options))) {}

SqliteStore::~SqliteStore() {
    state_->stop_watching();
    state_->writer.reset();
    state_->audience->listener = nullptr;
}

StoreContents SqliteStore::load(StoreListener& listener) {
    State& state = *state_;
    state.audience->listener = &listener;
    try {
        std::optional<Connection> connection;
        try {
            connection.emplace(state.open());
        } catch (const sqlite::Error& e) {
            if (!e.disk_full()) throw;
        }
        if (!connection) {
            log::error("db.disk_full", {{"path", state.options.path}});
            ::unlink((state.options.path + ".ballast").c_str());
            connection.emplace(state.open());
        }
        StoreContents contents = sqlite::read_contents(*connection);
        state.look_at_space();
        if (state.accepts) keep_ballast(state.options.path);
        state.writer.emplace(std::move(*connection), state.events());
        state.watcher = std::thread([&state] { state.watch(); });
        return contents;
    } catch (const std::exception& e) {
        const auto* known = dynamic_cast<const ApiError*>(&e);
        if (known != nullptr) throw;
        throw err::internal_error("store " + state.options.path + ": " + e.what());
    }
}

void SqliteStore::detach() {
    state_->audience->listener = nullptr;
}

void SqliteStore::append(CommitRecord record) {
    state_->writer->append(std::move(record));
}

void SqliteStore::reserve(std::uint64_t until) {
    state_->writer->reserve(until);
}

bool SqliteStore::accepts() const {
    return state_->accepts;
}

Task<void> SqliteStore::backup(std::string path) {
    const std::string from = state_->options.path;
    co_await blocking(state_->loop, [from, path] {
        try {
            sqlite::copy_database(from, path);
        } catch (const std::exception& e) {
            throw err::internal_error("backup to " + path + ": " + e.what());
        }
    });
}

}  // namespace basalt::db
