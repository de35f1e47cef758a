#include "xapi/db/store/store_sim.hpp"

#include <algorithm>
#include <deque>
#include <format>
#include <map>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/db/store/commit_text.hpp"

namespace basalt::db {

namespace {

/// FNV-1a: tells a torn entry from a whole one.
std::uint64_t checksum(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return hash;
}

std::string sealed(const std::string& text) {
    return std::format("{:016x}", checksum(text)) + text;
}

bool whole(std::string_view entry) {
    return entry.size() > 16 &&
           std::format("{:016x}", checksum(entry.substr(16))) == entry.substr(0, 16);
}

void apply(const CommitRecord& commit, std::map<std::uint64_t, StoredRow>& rows,
           std::vector<StoredTombstone>& tombstones) {
    for (const Change& change : commit.changes) {
        if (change.json) {
            rows[change.serial] = {change.class_name, change.ref,        change.serial,
                                   change.created,    commit.generation, *change.json};
        } else {
            rows.erase(change.serial);
            tombstones.push_back(
                {change.class_name, change.ref, change.created, commit.generation, commit.time_s});
        }
    }
}

}  // namespace

struct SimStore::State : std::enable_shared_from_this<State> {
    State(Loop& loop_in, SimDisk& disk_in, SimFaults faults_in)
        : loop(loop_in), disk(disk_in), faults(faults_in) {}

    void write_next();
    void finish_write();
    void fail(const std::string& reason);

    Loop& loop;
    SimDisk& disk;
    SimFaults faults;
    StoreListener* listener = nullptr;
    std::deque<CommitRecord> queue;
    std::vector<CommitRecord> writing;
    std::uint64_t reserve_until = 0;
    bool busy = false;
    bool dead = false;
    bool crashed = false;  // the disk is somebody else's from here on
    std::map<std::string, SimDisk> copies;
};

void SimStore::State::write_next() {
    if (busy || dead || (queue.empty() && reserve_until <= disk.reserved)) return;
    busy = true;
    writing.assign(std::make_move_iterator(queue.begin()), std::make_move_iterator(queue.end()));
    queue.clear();
    const auto span = static_cast<std::uint64_t>((faults.write_max - faults.write_min).count());
    const Duration takes =
        faults.write_min + Duration(static_cast<std::int64_t>(span > 0 ? loop.random() % span : 0));
    loop.at(loop.now() + takes, [self = shared_from_this()] { self->finish_write(); });
}

void SimStore::State::finish_write() {
    if (dead) return;
    if (faults.writes_until_failure == 0) {
        // Unknown means unknown: half of the time the write did reach the disk.
        if (loop.random() % 2 == 0) {
            for (const CommitRecord& record : writing)
                disk.log.push_back(sealed(encode_commit(record)));
        }
        fail("simulated write error");
        return;
    }
    if (faults.writes_until_failure > 0) --faults.writes_until_failure;
    std::uint64_t newest = 0;
    for (const CommitRecord& record : writing) {
        disk.log.push_back(sealed(encode_commit(record)));
        newest = record.generation;
    }
    writing.clear();
    busy = false;
    const bool more = reserve_until > disk.reserved;
    disk.reserved = std::max(disk.reserved, reserve_until);
    if (listener != nullptr && more) listener->reserved(disk.reserved);
    if (listener != nullptr && newest > 0) listener->stored(newest);
    write_next();
}

void SimStore::State::fail(const std::string& reason) {
    dead = true;
    queue.clear();
    writing.clear();
    if (listener != nullptr) listener->failed(reason);
}

SimStore::SimStore(Loop& loop, SimDisk& disk, SimFaults faults)
    : state_(std::make_shared<State>(loop, disk, faults)) {
    if (disk.opened) throw err::internal_error("the store is open already");
    disk.opened = true;
}

SimStore::~SimStore() {
    // As a clean end: what is queued is written.
    State& state = *state_;
    if (!state.dead) {
        for (const CommitRecord& record : state.writing)
            state.disk.log.push_back(sealed(encode_commit(record)));
        for (const CommitRecord& record : state.queue)
            state.disk.log.push_back(sealed(encode_commit(record)));
        state.dead = true;
    }
    if (!state.crashed) state.disk.opened = false;
}

StoreContents SimStore::load(StoreListener& listener) {
    State& state = *state_;
    SimDisk& disk = state.disk;
    state.listener = &listener;
    if (!disk.log.empty() && !whole(disk.log.back())) disk.log.pop_back();
    if (disk.store_id == 0) disk.store_id = (state.loop.random() >> 1) | 1;
    if (disk.copied) {
        disk.epoch = next_epoch(disk.epoch, state.loop.wall_ns() / 1'000'000'000);
        disk.copied = false;
    }
    StoreContents contents;
    contents.epoch = disk.epoch;
    contents.store_id = disk.store_id;
    contents.first = disk.reserved;
    contents.reserved = disk.reserved += generation_block;
    std::map<std::uint64_t, StoredRow> rows;
    for (const std::string& entry : disk.log)
        apply(decode_commit(std::string_view(entry).substr(16)), rows, contents.tombstones);
    for (auto& [serial, row] : rows)
        contents.rows.push_back(std::move(row));
    return contents;
}

void SimStore::detach() {
    state_->listener = nullptr;
}

void SimStore::append(CommitRecord record) {
    state_->queue.push_back(std::move(record));
    state_->write_next();
}

void SimStore::reserve(std::uint64_t until) {
    state_->reserve_until = std::max(state_->reserve_until, until);
    state_->write_next();
}

bool SimStore::accepts() const {
    return !state_->faults.disk_full;
}

Task<void> SimStore::backup(std::string path) {
    const std::shared_ptr<State> state = state_;
    co_await sleep_for(state->loop, state->faults.write_max);
    if (state->dead) throw err::internal_error("the store failed");
    SimDisk& copy = state->copies[path] = state->disk;
    copy.copied = true;
    copy.opened = false;
}

void SimStore::crash() {
    State& state = *state_;
    if (state.crashed) return;
    state.crashed = true;
    state.disk.opened = false;
    if (state.dead) return;
    std::size_t reached =
        state.writing.empty() ? 0 : state.loop.random() % (state.writing.size() + 1);
    for (std::size_t i = 0; i < reached; ++i)
        state.disk.log.push_back(sealed(encode_commit(state.writing[i])));
    if (reached < state.writing.size()) {
        const std::string next = sealed(encode_commit(state.writing[reached]));
        const std::size_t part = state.loop.random() % next.size();
        if (part > 0) state.disk.log.push_back(next.substr(0, part));
    }
    state.fail("the power failed");
}

SimFaults& SimStore::faults() {
    return state_->faults;
}

const SimDisk& SimStore::copy(const std::string& path) const {
    return state_->copies.at(path);
}

}  // namespace basalt::db
