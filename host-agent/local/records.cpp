#include "host-agent/local/records.hpp"

#include <sqlite3.h>
#include <sys/stat.h>

#include <utility>

#include "base/error.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

struct Records::Batch {
    explicit Batch(Loop& loop) : written(loop) {}

    std::vector<Change> changes;
    std::exception_ptr failure;
    bool done = false;
    Signal written;
};

// The connection, and the commits that wait for it. One write at a time, on a pool thread.
class Records::File {
  public:
    explicit File(const std::string& path) {
        const mode_t before = ::umask(0077);
        const int rc = sqlite3_open_v2(path.c_str(), &database_,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
        ::umask(before);
        check(rc);
        run("PRAGMA journal_mode=WAL");
        run("PRAGMA synchronous=FULL");
        run("CREATE TABLE IF NOT EXISTS record (room TEXT NOT NULL, key TEXT NOT NULL, "
            "value TEXT NOT NULL, PRIMARY KEY (room, key)) WITHOUT ROWID");
        check(sqlite3_prepare_v2(database_, "INSERT OR REPLACE INTO record VALUES (?, ?, ?)", -1,
                                 &put_, nullptr));
        check(sqlite3_prepare_v2(database_, "DELETE FROM record WHERE room = ? AND key = ?", -1,
                                 &erase_, nullptr));
    }

    ~File() {
        sqlite3_finalize(put_);
        sqlite3_finalize(erase_);
        sqlite3_close(database_);
    }

    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::map<std::string, std::map<std::string, std::string>> load() {
        std::map<std::string, std::map<std::string, std::string>> rooms;
        sqlite3_stmt* select = nullptr;
        check(sqlite3_prepare_v2(database_, "SELECT room, key, value FROM record", -1, &select,
                                 nullptr));
        int rc = SQLITE_OK;
        while ((rc = sqlite3_step(select)) == SQLITE_ROW)
            rooms[column(select, 0)][column(select, 1)] = column(select, 2);
        sqlite3_finalize(select);
        if (rc != SQLITE_DONE) check(rc);
        return rooms;
    }

    void write(const std::vector<Change>& changes) {
        run("BEGIN IMMEDIATE");
        try {
            for (const Change& change : changes)
                apply(change);
            run("COMMIT");
        } catch (const ApiError&) {
            sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
            throw;
        }
    }

    std::vector<std::shared_ptr<Batch>> waiting;
    bool writing = false;

  private:
    static std::string column(sqlite3_stmt* row, int index) {
        const auto* bytes = static_cast<const char*>(sqlite3_column_blob(row, index));
        const auto size = static_cast<std::size_t>(sqlite3_column_bytes(row, index));
        return bytes == nullptr ? std::string() : std::string(bytes, size);
    }

    static void bind(sqlite3_stmt* statement, int index, const std::string& value) {
        sqlite3_bind_text(statement, index, value.data(), static_cast<int>(value.size()),
                          SQLITE_STATIC);
    }

    void apply(const Change& change) {
        sqlite3_stmt* statement = change.value ? put_ : erase_;
        bind(statement, 1, change.room);
        bind(statement, 2, change.key);
        if (change.value) bind(statement, 3, *change.value);
        const int rc = sqlite3_step(statement);
        sqlite3_reset(statement);
        if (rc != SQLITE_DONE) check(rc);
    }

    void run(const char* sql) { check(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr)); }

    void check(int rc) {
        if (rc != SQLITE_OK)
            throw err::internal_error("local store: " + std::string(sqlite3_errmsg(database_)));
    }

    sqlite3* database_ = nullptr;
    sqlite3_stmt* put_ = nullptr;
    sqlite3_stmt* erase_ = nullptr;
};

Records::Records(Loop& loop, const std::string& path)
    : loop_(loop), file_(std::make_shared<File>(path)), rooms_(file_->load()) {}

Records::~Records() = default;

std::optional<std::string> Records::get(const std::string& room, const std::string& key) const {
    const auto& values = this->room(room);
    const auto found = values.find(key);
    if (found == values.end()) return std::nullopt;
    return found->second;
}

const std::map<std::string, std::string>& Records::room(const std::string& room) const {
    static const std::map<std::string, std::string> none;
    const auto found = rooms_.find(room);
    return found == rooms_.end() ? none : found->second;
}

Task<void> Records::commit(std::vector<Change> changes) {
    for (const Change& change : changes) {
        if (change.value) {
            rooms_[change.room][change.key] = *change.value;
        } else if (const auto room = rooms_.find(change.room); room != rooms_.end()) {
            room->second.erase(change.key);
        }
    }
    const auto file = file_;
    if (file->waiting.empty()) file->waiting.push_back(std::make_shared<Batch>(loop_));
    const auto batch = file->waiting.back();
    batch->changes.insert(batch->changes.end(), std::make_move_iterator(changes.begin()),
                          std::make_move_iterator(changes.end()));
    if (!file->writing) {
        file->writing = true;
        spawn(loop_, "local store writer", write_loop(file, loop_));
    }
    while (!batch->done)
        co_await shielded(batch->written.wait());
    if (batch->failure) std::rethrow_exception(batch->failure);
}

Task<void> Records::write_loop(std::shared_ptr<File> file, Loop& loop) {
    while (!file->waiting.empty()) {
        const auto batch = file->waiting.front();
        file->waiting.erase(file->waiting.begin());
        try {
            co_await blocking(loop, [file, batch] { file->write(batch->changes); });
        } catch (const ApiError&) {
            batch->failure = std::current_exception();
        }
        batch->done = true;
        batch->written.notify_all();
    }
    file->writing = false;
}

}  // namespace basalt::agent
