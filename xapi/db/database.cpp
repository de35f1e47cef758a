#include "xapi/db/database.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "xapi/db/state.hpp"
#include "xapi/db/token.hpp"

namespace basalt::db {

DatabaseState::DatabaseState(Loop& loop_in, Store& store_in, Derive* derive_in)
    : loop(loop_in), store(store_in), derive(derive_in), changed(loop_in) {
    for (const ClassInfo& cls : xenapi::classes())
        tables.push_back(std::make_unique<Table>(cls));
}

DatabaseState::~DatabaseState() {
    if (lazy_set_) loop.cancel(lazy_timer_);
    store.detach();
}

void DatabaseState::load() {
    StoreContents contents = store.load(*this);
    epoch = contents.epoch;
    store_id = contents.store_id;
    generation = started = contents.first;
    reserved_until = contents.reserved;

    std::map<std::pair<std::uint16_t, Uuid>, std::shared_ptr<void>> records;
    std::vector<std::shared_ptr<Row>> rows;
    for (const StoredRow& stored : contents.rows) {
        last_serial = std::max(last_serial, stored.serial);
        const ClassInfo* cls = xenapi::find_class(stored.class_name);
        if (cls == nullptr) {
            // Of a newer version: it stays in the store untouched.
            log::warn("db.unknown_class", {{"class", stored.class_name}});
            continue;
        }
        auto row = std::make_shared<Row>();
        auto record = form.read(*cls, stored, row->unknown_fields);
        relations.clear_mirrors(*cls, record.get());
        records[{cls->index, stored.ref}] = record;
        row->cls = cls;
        row->ref = stored.ref;
        row->serial = stored.serial;
        row->created = stored.created;
        row->modified = form.forgets(*cls) ? started : stored.modified;
        row->record = std::move(record);
        rows.push_back(std::move(row));
    }
    const auto find = [&records](const ClassInfo& cls, const Uuid& ref) -> void* {
        const auto place = records.find({cls.index, ref});
        return place == records.end() ? nullptr : place->second.get();
    };
    for (const auto& row : rows) {
        void* record = find(*row->cls, row->ref);
        if (relations.drop_dangling(*row->cls, record, find)) {
            log::warn("db.dangling", {{"class", row->cls->name}, {"ref", row->ref.text()}});
        }
        relations.enter(*row->cls, row->ref, record, find);
    }
    for (const auto& row : rows)
        table(*row->cls).put(row);
    // Once more in order of change, which is the other order that a table keeps.
    std::ranges::stable_sort(rows, {}, &Row::modified);
    for (const auto& row : rows)
        table(*row->cls).put(row);

    tombstones.set_lost_below(contents.lost_below);
    for (const StoredTombstone& stored : contents.tombstones) {
        const ClassInfo* cls = xenapi::find_class(stored.class_name);
        if (cls == nullptr) continue;
        tombstones.add({cls, stored.ref, stored.created, stored.generation, stored.deleted_s, {}});
        table(*cls).erase(stored.ref, stored.generation);
    }
}

void DatabaseState::stored(std::uint64_t up_to) {
    while (!unstored.empty() && unstored.front() <= up_to)
        unstored.pop_front();
    wake_durable();
}

/// Those who wait for what is stored now, or for ever.
void DatabaseState::wake_durable() {
    while (!durable_waits.empty()) {
        const auto first = durable_waits.begin();
        const bool waits = !unstored.empty() && unstored.front() <= first->first;
        if (waits && !store_failed) return;
        first->second.notify_all();
        durable_waits.erase(first);
    }
}

void DatabaseState::reserved(std::uint64_t until) {
    reserved_until = std::max(reserved_until, until);
}

void DatabaseState::failed(std::string reason) {
    store_failed = true;
    failure = std::move(reason);
    log::error("db.store_failed", {{"reason", failure}, {"unknown_commits", unstored.size()}});
    wake_durable();
    if (on_failed) on_failed(failure);
}

Database::Database(Loop& loop, Store& store, Derive* derive)
    : state_(std::make_unique<DatabaseState>(loop, store, derive)) {
    state_->load();
}

Database::~Database() = default;

std::unique_ptr<Txn> Database::begin() {
    if (state_->in_transaction) throw std::logic_error("a transaction within a transaction");
    std::unique_ptr<Txn> txn{new Txn(*state_)};
    state_->in_transaction = true;
    return txn;
}

void Database::commit(Txn& txn, Urgency urgency) {
    state_->commit(txn, urgency == Urgency::fact);
}

void Database::require_space() const {
    if (!state_->store.accepts()) throw err::out_of_space("xapi database");
}

const Row* Database::peek(const ClassInfo& cls, const Uuid& ref) const {
    const RowPtr* row = state_->table(cls).find(ref);
    return row == nullptr ? nullptr : row->get();
}

RowPtr Database::find(const ClassInfo& cls, const Uuid& ref) const {
    const RowPtr* row = state_->table(cls).find(ref);
    return row == nullptr ? nullptr : *row;
}

RowPtr Database::get(const ClassInfo& cls, const Uuid& ref) const {
    const RowPtr* row = state_->table(cls).find(ref);
    if (row == nullptr) throw err::handle_invalid(cls.name, xenapi::ref_text(ref));
    return *row;
}

RowPtr Database::by_uuid(const ClassInfo& cls, std::string_view uuid) const {
    const RowPtr* row = state_->table(cls).by_uuid(uuid);
    return row == nullptr ? nullptr : *row;
}

std::vector<RowPtr> Database::by_name_label(const ClassInfo& cls, std::string_view label) const {
    return state_->table(cls).by_name_label(label);
}

void Database::each(const ClassInfo& cls, FunctionRef<void(const RowPtr&)> f) const {
    state_->table(cls).each(f);
}

Rows Database::snapshot(const ClassInfo& cls) const {
    return state_->table(cls).snapshot();
}

std::size_t Database::count(const ClassInfo& cls) const {
    return state_->table(cls).size();
}

void Database::each_changed(const ClassInfo& cls, Generation after,
                            FunctionRef<void(const RowPtr&)> f) const {
    state_->table(cls).each_changed(after, f);
}

Rows Database::changed(const ClassInfo& cls, Generation after) const {
    if (after == 0) return snapshot(cls);
    std::vector<RowPtr> rows;
    each_changed(cls, after, [&rows](const RowPtr& row) { rows.push_back(row); });
    return Rows(std::move(rows));
}

void Database::each_deleted(Generation after, FunctionRef<void(const Tombstone&)> f) const {
    state_->tombstones.each(after, f);
}

bool Database::covers(const ClassInfo& cls, Generation after) const {
    if (after == 0) return true;  // who has seen nothing misses no deletion
    if (after < state_->tombstones.lost_below()) return false;
    return state_->form.kind(cls) != StoredForm::Kind::none || after >= state_->started;
}

Generation Database::oldest_covered() const {
    return std::max(state_->started, state_->tombstones.lost_below());
}

Generation Database::class_generation(const ClassInfo& cls) const {
    return state_->table(cls).generation();
}

Generation Database::published() const {
    return state_->generation;
}

Task<void> Database::durable(Generation generation) {
    DatabaseState& state = *state_;
    while (!state.unstored.empty() && state.unstored.front() <= generation) {
        if (state.store_failed) {
            throw err::internal_error("the store failed, the outcome is unknown: " + state.failure);
        }
        co_await state.durable_waits.try_emplace(generation, state.loop).first->second.wait();
    }
}

bool Database::is_durable(Generation generation) const {
    return state_->unstored.empty() || state_->unstored.front() > generation;
}

Task<bool> Database::changed_since(Generation after, Duration limit) {
    DatabaseState& state = *state_;
    const Time end = state.loop.now() + limit;
    while (state.generation <= after) {
        const Duration left = end - state.loop.now();
        if (left <= Duration::zero()) co_return false;
        co_await state.changed.wait_for(left);
    }
    co_return true;
}

std::string Database::token(Generation generation) const {
    return token_text({state_->epoch, generation, state_->store_id});
}

std::expected<Generation, TokenProblem> Database::parse_token(std::string_view text) const {
    if (text.empty()) return Generation{0};
    const auto parts = parse_token_text(text);
    if (!parts) return std::unexpected(parts.error());
    if (parts->epoch == 0 && parts->generation == 0) return Generation{0};
    if (parts->epoch != state_->epoch || parts->store_id != state_->store_id ||
        parts->generation > state_->generation) {
        return std::unexpected(TokenProblem::foreign);
    }
    return parts->generation;
}

Epoch Database::epoch() const {
    return state_->epoch;
}

void Database::derive_all() {
    if (state_->derive == nullptr) return;
    for (const ClassInfo& cls : xenapi::classes()) {
        // Not the rows themselves: held, they would all be there twice in the end.
        std::vector<Uuid> refs;
        each(cls, [&refs](const RowPtr& row) { refs.push_back(row->ref); });
        for (std::size_t from = 0; from < refs.size(); from += derived_rows_max) {
            std::vector<Touched> batch;
            for (std::size_t i = from; i < std::min(from + derived_rows_max, refs.size()); ++i)
                batch.push_back({&cls, refs[i], nullptr, nullptr});
            state_->derive_batch(std::move(batch));
        }
    }
}

void Database::on_failed(std::function<void(std::string reason)> handler) {
    state_->on_failed = std::move(handler);
}

}  // namespace basalt::db
