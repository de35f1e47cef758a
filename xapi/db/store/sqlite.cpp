#include "xapi/db/store/sqlite.hpp"

namespace basalt::db::sqlite {

void fail(sqlite3* db, int code) {
    const char* text = db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db);
    throw Error(db == nullptr ? code : sqlite3_extended_errcode(db),
                std::string("SQLite: ") + text);
}

Statement::Statement(Connection& connection, std::string_view sql) : db_(connection.get()) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                             SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
    statement_.reset(statement);
}

void Statement::check(int code) const {
    if (code != SQLITE_OK) fail(db_, code);
}

Statement& Statement::bind(std::uint64_t number) {
    return bind(static_cast<std::int64_t>(number));
}

Statement& Statement::bind(std::int64_t number) {
    check(sqlite3_bind_int64(statement_.get(), ++bound_, number));
    return *this;
}

Statement& Statement::bind(std::string_view text) {
    check(sqlite3_bind_text64(statement_.get(), ++bound_, text.data(), text.size(), SQLITE_STATIC,
                              SQLITE_UTF8));
    return *this;
}

bool Statement::step() {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) {
        // The reset repeats the code of the failed step, but the text is gone after it.
        try {
            fail(db_, code);
        } catch (const Error&) {
            reset();
            throw;
        }
    }
    reset();
    return false;
}

void Statement::run() {
    while (step()) {
    }
}

void Statement::reset() {
    sqlite3_reset(statement_.get());
    bound_ = 0;
}

std::uint64_t Statement::number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.get(), column));
}

std::string_view Statement::text(int column) const {
    const void* bytes = sqlite3_column_text(statement_.get(), column);
    const int size = sqlite3_column_bytes(statement_.get(), column);
    return {static_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

Connection::Connection(const std::string& path, Mode mode) {
    sqlite3* db = nullptr;
    const int flags =
        mode == Mode::read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int code = sqlite3_open_v2(path.c_str(), &db,
                                     flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
    db_.reset(db);
    if (code != SQLITE_OK) fail(db, code);
    sqlite3_busy_timeout(db, 2000);
}

void Connection::exec(const char* sql) {
    const int code = sqlite3_exec(get(), sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) fail(get(), code);
}

std::uint64_t Connection::query_number(std::string_view sql) {
    Statement statement(*this, sql);
    const bool found = statement.step();
    return found ? statement.number(0) : 0;
}

bool Connection::checkpoint(int mode) {
    const int code = sqlite3_wal_checkpoint_v2(get(), nullptr, mode, nullptr, nullptr);
    if (code == SQLITE_OK) return true;
    if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED) return false;
    fail(get(), code);
}

Transaction::Transaction(Connection& connection) : connection_(connection) {
    connection_.exec("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
    // Its failure has no remedy, and the failure that led here is under way.
    if (open_) sqlite3_exec(connection_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
    connection_.exec("COMMIT");
    open_ = false;
}

}  // namespace basalt::db::sqlite
