#pragma once
#include <memory>
#include <string>

#include "base/loop.hpp"
#include "xapi/db/store/store.hpp"

namespace basalt::db {

/// Below this much free space the store takes facts only, and OUT_OF_SPACE answers the rest.
inline constexpr std::uint64_t free_bytes_floor = std::uint64_t{64} * 1024 * 1024;
/// Kept aside on disk, and given up when a start finds the disk full, so that it can start.
inline constexpr std::uint64_t ballast_bytes = std::uint64_t{8} * 1024 * 1024;

struct SqliteOptions {
    std::string path;
    /// Starts a new epoch even though the file is no restored backup (emergency transition).
    bool new_epoch = false;
    std::uint64_t free_floor = free_bytes_floor;
    /// For tests: the file may not grow beyond so many pages; 0 is no limit.
    std::uint64_t pages_max = 0;
};

/// The commit log of one host in one file. Needs a loop that takes posts from other threads.
/// Threads: one writes (WAL, synchronous=FULL), one checkpoints every 200 ms and watches the space.
class SqliteStore final : public Store {
  public:
    /// Locks the file. Throws INTERNAL_ERROR when another process has it, or it cannot be opened.
    SqliteStore(Loop& loop, SqliteOptions options);
    /// Writes what is queued.
    ~SqliteStore() override;

    StoreContents load(StoreListener& listener) override;
    void detach() override;
    void append(CommitRecord record) override;
    void reserve(std::uint64_t until) override;
    [[nodiscard]] bool accepts() const override;
    Task<void> backup(std::string path) override;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace basalt::db
