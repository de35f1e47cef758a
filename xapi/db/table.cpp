#include "xapi/db/table.hpp"

#include <algorithm>

namespace basalt::db {

const xenapi::FieldInfo* text_field(const ClassInfo& cls, std::string_view name) {
    const xenapi::FieldInfo* field = cls.field(name);
    return field != nullptr && field->type->kind == xenapi::TypeKind::string ? field : nullptr;
}

const std::string& text_in(const xenapi::FieldInfo& field, const void* record) {
    return *static_cast<const std::string*>(field.in(record));
}

Table::Table(const ClassInfo& cls)
    : cls_(cls),
      uuid_(text_field(cls, "uuid")),
      name_label_(text_field(cls, "name_label")),
      uuids_(by_text(uuid_)),
      labels_(by_text(name_label_)) {}

Table::~Table() = default;

const RowPtr* Table::find(const Uuid& ref) const {
    const auto place = slots_.find(ref);
    return place == slots_.end() ? nullptr : &place->second.row;
}

const RowPtr* Table::by_uuid(std::string_view uuid) const {
    const auto place = uuids_.find(uuid);
    return place == uuids_.end() ? nullptr : &(*place)->row;
}

std::vector<RowPtr> Table::by_name_label(std::string_view label) const {
    std::vector<RowPtr> rows;
    const auto [first, last] = labels_.equal_range(label);
    for (auto at = first; at != last; ++at)
        rows.push_back((*at)->row);
    std::ranges::sort(rows, {}, [](const RowPtr& row) { return row->serial; });
    return rows;
}

void Table::each(FunctionRef<void(const RowPtr&)> f) const {
    created_.each(f);
}

void Table::each_changed(Generation after, FunctionRef<void(const RowPtr&)> f) const {
    const Slot* slot = nullptr;
    for (const Slot* walk = newest_; walk != nullptr && walk->row->modified > after;
         walk = walk->older) {
        slot = walk;
    }
    for (; slot != nullptr; slot = slot->newer)
        f(slot->row);
}

void Table::put(RowPtr row) {
    generation_ = std::max(generation_, row->modified);
    const auto [place, fresh] = slots_.try_emplace(row->ref);
    Slot& slot = place->second;
    if (fresh) {
        slot.row = std::move(row);
        slot.place = created_.add(slot.row);
        index(slot);
    } else {
        unlink_changed(slot);
        const bool same_keys =
            (uuid_ == nullptr ||
             text_in(*uuid_, slot.row->record.get()) == text_in(*uuid_, row->record.get())) &&
            (name_label_ == nullptr || text_in(*name_label_, slot.row->record.get()) ==
                                           text_in(*name_label_, row->record.get()));
        if (!same_keys) unindex(slot);
        slot.row = std::move(row);
        created_.replace(slot.place, slot.row);
        if (!same_keys) index(slot);
    }
    link_newest(slot);
}

void Table::erase(const Uuid& ref, Generation generation) {
    generation_ = std::max(generation_, generation);
    const auto place = slots_.find(ref);
    if (place == slots_.end()) return;
    Slot& slot = place->second;
    unindex(slot);
    unlink_changed(slot);
    created_.erase(slot.place);
    slots_.erase(place);
    // As much work as there are rows, once in as many erasures.
    if (created_.sparse())
        created_.close_gaps(
            [this](const Row& row, std::size_t at) { slots_.at(row.ref).place = at; });
}

std::string_view Table::TextOf::operator()(const Slot* slot) const {
    return text_in(*field, slot->row->record.get());
}

Table::ByText Table::by_text(const xenapi::FieldInfo* field) {
    return ByText(0, TextHash{{field}}, TextEqual{{field}});
}

void Table::index(Slot& slot) {
    if (uuid_ != nullptr && !text_in(*uuid_, slot.row->record.get()).empty()) uuids_.insert(&slot);
    if (name_label_ != nullptr) labels_.insert(&slot);
}

void Table::unindex(const Slot& slot) {
    if (uuid_ != nullptr) drop(uuids_, slot);
    if (name_label_ != nullptr) drop(labels_, slot);
}

void Table::drop(ByText& slots, const Slot& slot) {
    const auto [first, last] = slots.equal_range(TextOf(slots.key_eq())(&slot));
    const auto place = std::ranges::find(first, last, &slot);
    if (place != last) slots.erase(place);
}

void Table::link_newest(Slot& slot) {
    slot.older = newest_;
    slot.newer = nullptr;
    (newest_ != nullptr ? newest_->newer : oldest_) = &slot;
    newest_ = &slot;
}

void Table::unlink_changed(Slot& slot) {
    (slot.older != nullptr ? slot.older->newer : oldest_) = slot.newer;
    (slot.newer != nullptr ? slot.newer->older : newest_) = slot.older;
}

}  // namespace basalt::db
