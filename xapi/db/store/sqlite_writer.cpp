#include "xapi/db/store/sqlite_writer.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "xapi/db/store/commit_text.hpp"

namespace basalt::db::sqlite {

namespace {

constexpr std::int64_t trim_interval_s = 3600;

std::size_t weight(const Change& change) {
    return 160 + (change.json ? change.json->size() : 0);
}

std::size_t weight(const CommitRecord& record) {
    std::size_t bytes = 64;
    for (const Change& change : record.changes)
        bytes += weight(change);
    return bytes;
}

}  // namespace

Writer::Writer(Connection connection, Events events)
    : connection_(std::move(connection)),
      events_(std::move(events)),
      insert_(connection_, "INSERT INTO commits VALUES(?, ?, ?)"),
      forget_(connection_, "DELETE FROM commits WHERE generation <= ?"),
      folder_(connection_),
      page_bytes_(connection_.query_number("PRAGMA page_size")),
      reserved_(get_meta(connection_, "reserved")) {
    // Replaces SQLite's own automatic checkpoints, so it only counts.
    sqlite3_wal_hook(
        connection_.get(),
        [](void* self, sqlite3*, const char*, int pages) {
            static_cast<Writer*>(self)->wal_pages_ = static_cast<std::uint64_t>(pages);
            return SQLITE_OK;
        },
        this);
    thread_ = std::thread([this] { run(); });
}

Writer::~Writer() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Writer::append(CommitRecord record) {
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(record));
    }
    wake_.notify_one();
}

void Writer::reserve(std::uint64_t until) {
    {
        const std::lock_guard lock(mutex_);
        reserve_ = std::max(reserve_, until);
    }
    wake_.notify_one();
}

void Writer::run() {
    try {
        Batch batch;
        while (next(batch)) {
            write(batch);
            batch = {};
            start_wal_over();
        }
        finish();
    } catch (const std::exception& e) {
        // Nothing is retried: after a failed commit nobody knows what the disk holds.
        events_.failed(e.what());
    }
}

/// Waits for work; false when there is none and the end was asked for.
bool Writer::next(Batch& batch) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty() || reserve_ > reserved_; });
    std::size_t bytes = 0;
    while (!queue_.empty()) {
        bytes += weight(queue_.front());
        if (bytes > batch_bytes_max && !batch.records.empty()) break;
        batch.records.push_back(std::move(queue_.front()));
        queue_.pop_front();
    }
    batch.reserve = reserve_;
    return !batch.records.empty() || reserve_ > reserved_;
}

void Writer::write(Batch& batch) {
    const bool reserving = batch.reserve > reserved_;
    Transaction transaction(connection_);
    for (const CommitRecord& record : batch.records) {
        const std::string value = encode_commit(record);
        insert_.bind(record.generation).bind(record.epoch).bind(value).run();
    }
    if (reserving) set_meta(connection_, "reserved", batch.reserve);
    rotate(false);
    fold_some(fold_rows_per_batch);
    transaction.commit();

    if (reserving) events_.reserved(reserved_ = batch.reserve);
    if (!batch.records.empty()) events_.stored(batch.records.back().generation);
    for (CommitRecord& record : batch.records)
        remember(std::move(record));
}

void Writer::remember(CommitRecord&& record) {
    filling_until_ = record.generation;
    for (Change& change : record.changes) {
        filling_bytes_ += weight(change);
        Pending& pending = filling_[change.serial];
        pending = {std::move(change), record.generation, record.time_s};
    }
}

/// Starts folding the segment that filled, when it is large enough and the one before is done.
void Writer::rotate(bool now) {
    if (!folding_.empty() || filling_.empty()) return;
    if (!now && filling_bytes_ < segment_bytes) return;
    folding_.reserve(filling_.size());
    for (auto& [serial, pending] : filling_)
        folding_.push_back(std::move(pending));
    // Backwards by serial: taken from the end, they enter the table in its own order.
    std::ranges::sort(folding_, std::greater{}, [](const Pending& p) { return p.change.serial; });
    folding_until_ = filling_until_;
    filling_.clear();
    filling_bytes_ = 0;
}

void Writer::fold_some(std::size_t rows) {
    if (folding_.empty()) return;
    for (; rows > 0 && !folding_.empty(); --rows) {
        const Pending& pending = folding_.back();
        folder_.fold(pending.change, pending.generation, pending.time_s);
        folded_s_ = std::max(folded_s_, pending.time_s);
        folding_.pop_back();
    }
    if (!folding_.empty()) return;
    forget_.bind(folding_until_).run();
    if (folded_s_ < trimmed_s_ + trim_interval_s) return;
    trimmed_s_ = folded_s_;
    trim_tombstones(connection_, folded_s_);
}

/// Readers of a backup may forbid it; then it is tried again after the next batch.
void Writer::start_wal_over() {
    if (wal_pages_ * page_bytes_ < wal_bytes_max) return;
    if (connection_.checkpoint(SQLITE_CHECKPOINT_RESTART)) wal_pages_ = 0;
}

void Writer::finish() {
    Transaction transaction(connection_);
    while (!folding_.empty() || !filling_.empty()) {
        rotate(true);
        fold_some(folding_.size());
    }
    transaction.commit();
    connection_.checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
}

}  // namespace basalt::db::sqlite
