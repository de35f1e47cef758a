#include "xapi/db/txn.hpp"

#include "idl/errors.hpp"
#include "xapi/db/state.hpp"

namespace basalt::db {

namespace {

[[noreturn]] void fail_handle(const ClassInfo& cls, const Uuid& ref) {
    throw err::handle_invalid(cls.name, xenapi::ref_text(ref));
}

}  // namespace

Txn::Txn(DatabaseState& state) : state_(state) {}

Txn::~Txn() {
    state_.in_transaction = false;
}

Txn::Edit* Txn::edit_of(const ClassInfo& cls, const Uuid& ref) const {
    const auto place = places_.find(Key{cls.index, ref});
    return place == places_.end() ? nullptr : place->second;
}

const void* Txn::find(const ClassInfo& cls, const Uuid& ref) const {
    if (const Edit* edit = edit_of(cls, ref)) return edit->record.get();
    const RowPtr* row = state_.table(cls).find(ref);
    return row == nullptr ? nullptr : (*row)->record.get();
}

const void* Txn::get(const ClassInfo& cls, const Uuid& ref) const {
    const void* record = find(cls, ref);
    if (record == nullptr) fail_handle(cls, ref);
    return record;
}

Txn::Edit& Txn::add(Edit edit) {
    const Key key{edit.cls->index, edit.ref};
    Edit& added = edits_.emplace_back(std::move(edit));
    places_.emplace(key, &added);
    return added;
}

Txn::Edit& Txn::open(const ClassInfo& cls, const Uuid& ref) {
    if (Edit* edit = edit_of(cls, ref)) {
        if (edit->record == nullptr) fail_handle(cls, ref);
        return *edit;
    }
    const RowPtr* row = state_.table(cls).find(ref);
    if (row == nullptr) fail_handle(cls, ref);
    if (deriving_ && room_ > 0) --room_;
    return add({&cls, ref, *row, cls.record.copy((*row)->record.get())});
}

void* Txn::edit(const ClassInfo& cls, const Uuid& ref) {
    return open(cls, ref).record.get();
}

void Txn::touch(const ClassInfo& cls, const Uuid& ref) {
    open(cls, ref).touched = true;
}

Uuid Txn::insert(const ClassInfo& cls, std::shared_ptr<void> record) {
    const Uuid ref = state_.loop.new_uuid();
    insert_as(cls, ref, std::move(record));
    return ref;
}

Uuid Txn::insert(const ClassInfo& cls, const void* record) {
    return insert(cls, cls.record.copy(record));
}

void Txn::insert_as(const ClassInfo& cls, const Uuid& ref, std::shared_ptr<void> record) {
    if (edit_of(cls, ref) != nullptr || state_.table(cls).find(ref) != nullptr) {
        throw err::db_uniqueness_constraint_violation(cls.name, "_ref", xenapi::ref_text(ref));
    }
    if (const xenapi::FieldInfo* field = text_field(cls, "uuid")) {
        auto& uuid = *static_cast<std::string*>(field->in(record.get()));
        if (uuid.empty()) uuid = state_.loop.new_uuid().text();
    }
    add({&cls, ref, nullptr, std::move(record)});
}

void Txn::erase(const ClassInfo& cls, const Uuid& ref) {
    open(cls, ref).record.reset();
}

void Txn::each(const ClassInfo& cls, FunctionRef<void(const Uuid&, const void*)> f) const {
    // The table cannot change meanwhile: commits are never nested.
    state_.table(cls).each([&](const RowPtr& row) {
        const Edit* edit = edit_of(cls, row->ref);
        const void* record = edit == nullptr ? row->record.get() : edit->record.get();
        if (record != nullptr) f(row->ref, record);
    });
    for (std::size_t i = 0; i < edits_.size(); ++i) {  // `f` may insert
        const Edit& edit = edits_[i];
        if (edit.cls == &cls && edit.base == nullptr && edit.record != nullptr) {
            f(edit.ref, edit.record.get());
        }
    }
}

std::size_t Txn::room() const {
    return room_;
}

void Txn::later(AnyRef row) {
    later_.push_back(row);
}

}  // namespace basalt::db
