#pragma once
// The thread that writes. Internal to the SQLite store.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "xapi/db/store/schema.hpp"

namespace basalt::db::sqlite {

/// A batch is everything queued, this much at most.
inline constexpr std::size_t batch_bytes_max = std::size_t{4} * 1024 * 1024;
/// Above this the writer makes the write-ahead log start over.
inline constexpr std::uint64_t wal_bytes_max = std::uint64_t{64} * 1024 * 1024;
/// The log is folded into the snapshot in segments of about this much...
inline constexpr std::size_t segment_bytes = std::size_t{4} * 1024 * 1024;
/// ...of which each batch takes along so many rows, so that no commit waits long for it.
inline constexpr std::size_t fold_rows_per_batch = 256;

/// Owns the writing connection on a thread of its own. `append`, `reserve` and `stop` from any one
/// thread; the callbacks come on the writer's.
class Writer {
  public:
    struct Events {
        std::function<void(std::uint64_t generation)> stored;
        std::function<void(std::uint64_t until)> reserved;
        std::function<void(std::string reason)> failed;
    };

    Writer(Connection connection, Events events);
    /// Writes what is queued, folds, and ends.
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    void append(CommitRecord record);
    void reserve(std::uint64_t until);

  private:
    struct Batch {
        std::vector<CommitRecord> records;
        std::uint64_t reserve = 0;
    };

    struct Pending {
        Change change;
        std::uint64_t generation = 0;
        std::int64_t time_s = 0;
    };

    void run();
    bool next(Batch& batch);
    void write(Batch& batch);
    void remember(CommitRecord&& record);
    void fold_some(std::size_t rows);
    void rotate(bool now);
    void start_wal_over();
    void finish();

    Connection connection_;
    Events events_;
    Statement insert_;
    Statement forget_;
    Folder folder_;
    std::uint64_t page_bytes_;
    std::uint64_t wal_pages_ = 0;
    std::uint64_t reserved_ = 0;

    // The segment that fills, newest state of each row; and the one that is being folded.
    std::unordered_map<std::uint64_t, Pending> filling_;
    std::size_t filling_bytes_ = 0;
    std::uint64_t filling_until_ = 0;
    std::vector<Pending> folding_;
    std::uint64_t folding_until_ = 0;
    std::int64_t folded_s_ = 0;
    std::int64_t trimmed_s_ = 0;

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<CommitRecord> queue_;
    std::uint64_t reserve_ = 0;
    bool stopping_ = false;
    std::thread thread_;  // last: starts when all the rest is there
};

}  // namespace basalt::db::sqlite
