#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/uuid.hpp"

namespace basalt::db {

/// A row as a commit leaves it. The store knows texts only: classes and fields are not its
/// business.
struct Change {
    std::string class_name;
    Uuid ref;
    std::uint64_t serial = 0;
    std::uint64_t created = 0;
    std::optional<std::string> json;  ///< absent: deleted

    friend bool operator==(const Change&, const Change&) = default;
};

/// What one transaction stores: atomic, and in order of generation within an epoch.
struct CommitRecord {
    std::uint64_t epoch = 0;
    std::uint64_t generation = 0;
    std::int64_t time_s = 0;  ///< seconds since 1970 UTC
    std::vector<Change> changes;

    friend bool operator==(const CommitRecord&, const CommitRecord&) = default;
};

struct StoredRow {
    std::string class_name;
    Uuid ref;
    std::uint64_t serial = 0;
    std::uint64_t created = 0;
    std::uint64_t modified = 0;
    std::string json;
};

struct StoredTombstone {
    std::string class_name;
    Uuid ref;
    std::uint64_t created = 0;
    std::uint64_t generation = 0;
    std::int64_t deleted_s = 0;
};

/// Everything a database starts from.
struct StoreContents {
    std::uint64_t epoch = 0;
    std::uint64_t store_id = 0;               ///< below 2^63; another store has another one
    std::uint64_t first = 0;                  ///< above every generation that anybody ever saw
    std::uint64_t reserved = 0;               ///< generations below it may be used
    std::uint64_t lost_below = 0;             ///< deletions up to it are forgotten
    std::vector<StoredRow> rows;              ///< by serial
    std::vector<StoredTombstone> tombstones;  ///< by generation
};

/// Hears from the store, on the loop.
class StoreListener {
  public:
    virtual ~StoreListener() = default;
    /// Every commit appended up to this generation will survive.
    virtual void stored(std::uint64_t generation) = 0;
    /// Generations below it may be used.
    virtual void reserved(std::uint64_t generation) = 0;
    /// A write failed: what was appended and not `stored` may or may not survive, and nothing will
    /// be written any more. Once.
    virtual void failed(std::string reason) = 0;
};

/// How many generations are reserved durably at a time.
inline constexpr std::uint64_t generation_block = std::uint64_t{1} << 20;
/// Deletions are remembered this long, and this many of them.
inline constexpr std::int64_t tombstone_seconds = std::int64_t{24} * 3600;
inline constexpr std::size_t tombstones_max = 1'000'000;

/// A commit log with snapshots. Loop only. Engines: SQLite, simulated; later etcd.
class Store {
  public:
    virtual ~Store() = default;
    /// Reads everything and reserves the first block of generations. Blocking; once, before
    /// anything else. Throws INTERNAL_ERROR. The listener must outlive the store's last call.
    virtual StoreContents load(StoreListener& listener) = 0;
    /// The listener went away: calls it no more.
    virtual void detach() = 0;
    /// Queues a commit; returns at once. Commits become durable in this order.
    virtual void append(CommitRecord record) = 0;
    /// Asks for generations below `until`; idempotent.
    virtual void reserve(std::uint64_t until) = 0;
    /// False while the disk has less free space than the floor: append facts only.
    [[nodiscard]] virtual bool accepts() const = 0;
    /// A consistent copy of everything stored so far, while commits go on. A store that is opened
    /// on such a copy starts a new epoch. Throws INTERNAL_ERROR.
    virtual Task<void> backup(std::string path) = 0;
};

/// The epoch that follows `old` after a restore. It holds hours since 2026, so that two restores of
/// one backup (hours apart) differ although neither knows of the other.
[[nodiscard]] std::uint64_t next_epoch(std::uint64_t old, std::int64_t wall_s);

}  // namespace basalt::db
