#pragma once
// SQLite with owners. Internal to the SQLite store. A connection belongs to one thread at a time.
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace basalt::db::sqlite {

/// Any failure of SQLite, with its extended code.
class Error : public std::runtime_error {
  public:
    Error(int code, const std::string& text) : std::runtime_error(text), code_(code) {}

    [[nodiscard]] int code() const { return code_; }

    [[nodiscard]] bool disk_full() const { return (code_ & 0xff) == SQLITE_FULL; }

  private:
    int code_;
};

class Connection;

/// A prepared statement: bind in order, then `run()` or `while (step())`.
class Statement {
  public:
    Statement(Connection& connection, std::string_view sql);

    Statement& bind(std::uint64_t number);
    Statement& bind(std::int64_t number);
    /// The text must live until the statement ran.
    Statement& bind(std::string_view text);
    /// The next row; false at the end, when it is ready to be bound again.
    bool step();
    /// For statements without rows.
    void run();

    [[nodiscard]] std::uint64_t number(int column) const;
    [[nodiscard]] std::string_view text(int column) const;

  private:
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };

    void check(int code) const;
    void reset();

    sqlite3* db_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
    int bound_ = 0;
};

class Connection {
  public:
    enum class Mode : std::uint8_t { read_only, read_write };

    Connection(const std::string& path, Mode mode);

    void exec(const char* sql);
    /// The first column of the first row of `sql`; 0 when there is none.
    [[nodiscard]] std::uint64_t query_number(std::string_view sql);
    /// False: somebody else was at it, nothing lost.
    bool checkpoint(int mode);

    [[nodiscard]] sqlite3* get() const { return db_.get(); }

  private:
    struct Close {
        void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
    };

    std::unique_ptr<sqlite3, Close> db_;
};

/// Rolls back unless committed.
class Transaction {
  public:
    explicit Transaction(Connection& connection);
    ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    void commit();

  private:
    Connection& connection_;
    bool open_ = true;
};

[[noreturn]] void fail(sqlite3* db, int code);

}  // namespace basalt::db::sqlite
