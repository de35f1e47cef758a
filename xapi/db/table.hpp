#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "xapi/db/rows.hpp"
#include "xapi/db/types.hpp"

namespace basalt::db {

/// The rows of one class: found by reference, uuid and name; walked in order of creation or of
/// change (a list threaded through the slots).
class Table {
  public:
    explicit Table(const ClassInfo& cls);
    ~Table();
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    [[nodiscard]] const ClassInfo& cls() const { return cls_; }

    [[nodiscard]] std::size_t size() const { return slots_.size(); }

    /// The newest change, deletions included.
    [[nodiscard]] Generation generation() const { return generation_; }

    /// Null: absent.
    [[nodiscard]] const RowPtr* find(const Uuid& ref) const;
    [[nodiscard]] const RowPtr* by_uuid(std::string_view uuid) const;
    [[nodiscard]] std::vector<RowPtr> by_name_label(std::string_view label) const;
    void each(FunctionRef<void(const RowPtr&)> f) const;

    /// All, in order of creation.
    [[nodiscard]] Rows snapshot() { return created_.snapshot(); }

    void each_changed(Generation after, FunctionRef<void(const RowPtr&)> f) const;

    /// Inserts or replaces, by reference. `row->modified` is the newest generation of the table.
    void put(RowPtr row);
    void erase(const Uuid& ref, Generation generation);

  private:
    struct Slot {
        RowPtr row;
        std::size_t place = 0;  ///< in `created_`
        Slot* older = nullptr;  ///< changed before
        Slot* newer = nullptr;
    };

    /// Slots by a text of their rows, which is not kept twice: the text of a slot that is in such a
    /// set does not change.
    struct TextOf {
        using is_transparent = void;

        const xenapi::FieldInfo* field;

        [[nodiscard]] std::string_view operator()(const Slot* slot) const;

        [[nodiscard]] std::string_view operator()(std::string_view text) const { return text; }
    };

    struct TextHash : TextOf {
        // Not noexcept: the set then keeps each hash, instead of going to the row for it again.
        template <class Key>
        std::size_t operator()(const Key& key) const {
            return std::hash<std::string_view>{}(TextOf::operator()(key));
        }
    };

    struct TextEqual : TextOf {
        template <class A, class B>
        bool operator()(const A& a, const B& b) const noexcept {
            return TextOf::operator()(a) == TextOf::operator()(b);
        }
    };

    using ByText = std::unordered_multiset<Slot*, TextHash, TextEqual>;

    [[nodiscard]] static ByText by_text(const xenapi::FieldInfo* field);
    static void drop(ByText& slots, const Slot& slot);
    void index(Slot& slot);
    void unindex(const Slot& slot);
    void link_newest(Slot& slot);
    void unlink_changed(Slot& slot);

    const ClassInfo& cls_;
    const xenapi::FieldInfo* uuid_;
    const xenapi::FieldInfo* name_label_;
    std::unordered_map<Uuid, Slot> slots_;  // nodes stay where they are
    ByText uuids_;
    ByText labels_;
    RowPages created_;
    Slot* oldest_ = nullptr;
    Slot* newest_ = nullptr;
    Generation generation_ = 0;
};

/// The string field of that name in a record, or null when the class has none.
[[nodiscard]] const xenapi::FieldInfo* text_field(const ClassInfo& cls, std::string_view name);
[[nodiscard]] const std::string& text_in(const xenapi::FieldInfo& field, const void* record);

}  // namespace basalt::db
