// The steps of a commit, in order: all that may throw first, then publication, which does not.
#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "xapi/db/state.hpp"

namespace basalt::db {

namespace {

/// Where to ask for the next block: early enough that no transaction ever waits for it.
constexpr Generation reserve_margin = generation_block / 2;

const void* before(const Row* base) {
    return base == nullptr ? nullptr : base->record.get();
}

}  // namespace

struct DatabaseState::Plan {
    struct Step {
        Txn::Edit* edit;
        std::uint64_t serial;
    };

    std::vector<Step> steps;
    std::vector<Step> lazy;
    CommitRecord record;
};

void DatabaseState::commit(Txn& txn, bool fact) {
    if (txn.edits_.empty()) return;
    for (Txn::Edit& edit : txn.edits_) {
        // A record copied from another object brings that object's sets along.
        if (edit.base == nullptr && edit.record != nullptr) {
            relations.clear_sets(*edit.cls, edit.record.get());
        }
    }
    relations.keep(txn);
    derive_into(txn);
    Plan plan;
    settle(txn, plan);
    if (plan.steps.empty()) return;
    check_uuids(txn);
    if (generation + 1 >= reserved_until) {
        throw err::internal_error("no generations are reserved: the store does not answer");
    }
    render(plan);
    admit(plan, fact);
    publish(txn, plan);
}

void DatabaseState::derive_into(Txn& txn) {
    if (derive == nullptr || txn.deriving_) return;
    std::vector<Touched> touched;
    touched.reserve(txn.edits_.size());
    for (const Txn::Edit& edit : txn.edits_) {
        if (edit.base == nullptr && edit.record == nullptr) continue;
        touched.push_back({edit.cls, edit.ref, before(edit.base.get()), edit.record.get()});
    }
    txn.deriving_ = true;
    derive->derive(txn, touched);
    txn.deriving_ = false;
    relations.keep(txn);
}

void DatabaseState::settle(Txn& txn, Plan& plan) {
    std::uint64_t serial = last_serial;
    for (Txn::Edit& edit : txn.edits_) {
        if (edit.base == nullptr) {
            if (edit.record != nullptr) plan.steps.push_back({&edit, ++serial});
        } else if (edit.record == nullptr || edit.touched ||
                   !edit.cls->record.equal(edit.base->record.get(), edit.record.get())) {
            plan.steps.push_back({&edit, edit.base->serial});
        }
    }
}

void DatabaseState::check_uuids(const Txn& txn) const {
    for (const Txn::Edit& edit : txn.edits_) {
        if (edit.record == nullptr) continue;
        const xenapi::FieldInfo* field = text_field(*edit.cls, "uuid");
        if (field == nullptr) continue;
        const std::string& uuid = text_in(*field, edit.record.get());
        if (uuid.empty()) continue;
        const RowPtr* other = table(*edit.cls).by_uuid(uuid);
        bool taken = other != nullptr && (*other)->ref != edit.ref &&
                     txn.find(*edit.cls, (*other)->ref) != nullptr;
        if (edit.base == nullptr && !taken) {
            // Two new rows of one transaction: few enough to compare.
            for (const Txn::Edit& peer : txn.edits_) {
                if (&peer == &edit) break;
                taken |= peer.cls == edit.cls && peer.record != nullptr && peer.base == nullptr &&
                         text_in(*field, peer.record.get()) == uuid;
            }
        }
        if (taken) throw err::db_uniqueness_constraint_violation(edit.cls->name, "uuid", uuid);
    }
}

void DatabaseState::render(Plan& plan) {
    std::size_t bytes = 0;
    for (const Plan::Step& step : plan.steps) {
        const Txn::Edit& edit = *step.edit;
        const void* old = before(edit.base.get());
        switch (form.need(*edit.cls, old, edit.record.get())) {
            case StoredForm::Need::nothing:
                continue;
            case StoredForm::Need::lazily:
                plan.lazy.push_back(step);
                continue;
            case StoredForm::Need::now:
                break;
        }
        if (edit.record == nullptr) {
            plan.record.changes.push_back(form.deletion(*edit.base));
            continue;
        }
        plan.record.changes.push_back(form.change(
            *edit.cls, edit.ref, step.serial,
            edit.base == nullptr ? generation + 1 : edit.base->created, edit.record.get(),
            edit.base == nullptr ? nullptr : edit.base->unknown_fields.get()));
        bytes += plan.record.changes.back().json->size() + 128;
    }
    if (bytes > commit_bytes_max) {
        throw err::internal_error("a commit of " + std::to_string(bytes) + " bytes is too large");
    }
}

void DatabaseState::admit(const Plan& plan, bool fact) {
    if (plan.record.changes.empty()) return;
    if (store_failed) throw err::internal_error("the store failed: " + failure);
    if (!fact && !store.accepts()) throw err::out_of_space("xapi database");
}

void DatabaseState::publish(Txn& txn, Plan& plan) {
    advance_generation();
    const std::int64_t now_s = loop.wall_ns() / 1'000'000'000;
    for (const Plan::Step& step : plan.steps) {
        Txn::Edit& edit = *step.edit;
        Table& rows = table(*edit.cls);
        lazy_.erase({edit.cls->index, edit.ref});
        if (edit.record == nullptr) {
            tombstones.add({edit.cls, edit.ref, edit.base->created, generation, now_s, edit.base});
            rows.erase(edit.ref, generation);
            continue;
        }
        auto row = std::make_shared<Row>();
        row->cls = edit.cls;
        row->ref = edit.ref;
        row->serial = step.serial;
        row->created = edit.base == nullptr ? generation : edit.base->created;
        row->modified = generation;
        row->record = std::move(edit.record);
        if (edit.base != nullptr) row->unknown_fields = edit.base->unknown_fields;
        rows.put(std::move(row));
        last_serial = std::max(last_serial, step.serial);
    }
    tombstones.trim(now_s);
    for (const Plan::Step& step : plan.lazy)
        pend_lazy(*step.edit->cls, step.edit->ref);
    if (!plan.record.changes.empty()) append(std::move(plan.record));
    queue_later(txn.later_);
    changed.notify_all();
}

void DatabaseState::advance_generation() {
    ++generation;
    if (generation + reserve_margin < reserved_until || reserve_asked > reserved_until) return;
    reserve_asked = reserved_until + generation_block;
    store.reserve(reserve_asked);
}

void DatabaseState::append(CommitRecord record) {
    record.epoch = epoch;
    record.generation = generation;
    record.time_s = loop.wall_ns() / 1'000'000'000;
    unstored.push_back(generation);
    store.append(std::move(record));
}

void DatabaseState::pend_lazy(const ClassInfo& cls, const Uuid& ref) {
    lazy_.insert({cls.index, ref});
    if (lazy_set_) return;
    lazy_set_ = true;
    lazy_timer_ = loop.at(loop.now() + lazy_delay_max, [this] {
        lazy_set_ = false;
        flush_lazy();
    });
}

void DatabaseState::flush_lazy() {
    if (lazy_.empty() || store_failed) return;
    if (generation + 1 >= reserved_until) {
        const RowKey first = *lazy_.begin();
        pend_lazy(xenapi::classes()[first.class_index], first.ref);
        return;
    }
    CommitRecord record;
    std::size_t bytes = 0;
    while (!lazy_.empty() && bytes < commit_bytes_max / 2) {
        const RowKey key = *lazy_.begin();
        lazy_.erase(lazy_.begin());
        const RowPtr* row = tables[key.class_index]->find(key.ref);
        if (row == nullptr) continue;
        const Row& r = **row;
        record.changes.push_back(form.change(*r.cls, r.ref, r.serial, r.created, r.record.get(),
                                             r.unknown_fields.get()));
        bytes += record.changes.back().json->size();
    }
    // The log wants a number of its own for each value; no row changes by it.
    advance_generation();
    append(std::move(record));
    if (!lazy_.empty()) flush_lazy();
}

void DatabaseState::queue_later(const std::vector<AnyRef>& rows) {
    for (const AnyRef& row : rows)
        later_.insert({row.cls->index, row.uuid});
    if (later_.empty() || later_posted_) return;
    later_posted_ = true;
    loop.post([this, alive = std::weak_ptr(alive_)] {
        if (alive.expired()) return;
        later_posted_ = false;
        run_later();
    });
}

void DatabaseState::run_later() {
    std::vector<Touched> batch;
    while (!later_.empty() && batch.size() < derived_rows_max) {
        const RowKey key = *later_.begin();
        later_.erase(later_.begin());
        batch.push_back({&xenapi::classes()[key.class_index], key.ref, nullptr, nullptr});
    }
    derive_batch(std::move(batch));
    queue_later({});
}

void DatabaseState::derive_batch(std::vector<Touched> rows) {
    in_transaction = true;
    Txn txn(*this);
    std::erase_if(rows, [&](const Touched& row) { return !txn.find(*row.cls, row.ref); });
    try {
        txn.deriving_ = true;
        derive->derive(txn, rows);
        commit(txn, true);
    } catch (const ApiError& e) {
        log::error("db.derive_failed", {{"error", e.what()}, {"rows", rows.size()}});
    }
}

}  // namespace basalt::db
