#pragma once
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "xapi/db/types.hpp"

namespace basalt::db {

struct DatabaseState;

/// A transaction under way: edits copies of rows, sees its own edits, publishes nothing until the
/// function it was given to returns. References it hands out are good until then. Fields that
/// mirror a relation (`VM.VBDs`) are kept by the commit: whatever is written to them is overruled.
class Txn {
  public:
    Txn(const Txn&) = delete;
    Txn& operator=(const Txn&) = delete;
    ~Txn();

    /// Throws HANDLE_INVALID.
    template <class R>
    [[nodiscard]] const R& get(Ref<R> ref) const {
        return *static_cast<const R*>(get(xenapi::class_of<R>(), ref.uuid()));
    }

    /// Null: the null reference, or no such object.
    template <class R>
    [[nodiscard]] const R* find(Ref<R> ref) const {
        return static_cast<const R*>(find(xenapi::class_of<R>(), ref.uuid()));
    }

    /// The copy that this transaction changes; copied on the first call. Throws HANDLE_INVALID.
    template <class R>
    [[nodiscard]] R& edit(Ref<R> ref) {
        return *static_cast<R*>(edit(xenapi::class_of<R>(), ref.uuid()));
    }

    /// A new object with a fresh reference, and a fresh uuid where the record has an empty one.
    template <class R>
    Ref<R> insert(R record) {
        return Ref<R>{insert(xenapi::class_of<R>(), std::make_shared<R>(std::move(record)))};
    }

    /// As `insert` under a reference that is fixed for ever (the roles). Throws
    /// DB_UNIQUENESS_CONSTRAINT_VIOLATION when it is taken.
    template <class R>
    void insert_as(Ref<R> ref, R record) {
        insert_as(xenapi::class_of<R>(), ref.uuid(), std::make_shared<R>(std::move(record)));
    }

    /// Throws HANDLE_INVALID. See commit rules at Database::transact for what still refers to it.
    template <class R>
    void erase(Ref<R> ref) {
        erase(xenapi::class_of<R>(), ref.uuid());
    }

    /// Counts as changed, and makes an event, even when nothing differs. Throws HANDLE_INVALID.
    template <class R>
    void touch(Ref<R> ref) {
        touch(xenapi::class_of<R>(), ref.uuid());
    }

    /// f(Ref<R>, const R&) for every object in order of creation, this transaction's changes
    /// included. The function may edit and erase through this transaction.
    template <class R, class F>
    void each(F f) const {
        each(xenapi::class_of<R>(), [&f](const Uuid& ref, const void* record) {
            f(Ref<R>{ref}, *static_cast<const R*>(record));
        });
    }

    [[nodiscard]] const void* get(const ClassInfo& cls, const Uuid& ref) const;
    [[nodiscard]] const void* find(const ClassInfo& cls, const Uuid& ref) const;
    [[nodiscard]] void* edit(const ClassInfo& cls, const Uuid& ref);
    Uuid insert(const ClassInfo& cls, std::shared_ptr<void> record);
    /// Moves nothing out of it: copies `record`.
    Uuid insert(const ClassInfo& cls, const void* record);
    void insert_as(const ClassInfo& cls, const Uuid& ref, std::shared_ptr<void> record);
    void erase(const ClassInfo& cls, const Uuid& ref);
    void touch(const ClassInfo& cls, const Uuid& ref);
    void each(const ClassInfo& cls, FunctionRef<void(const Uuid&, const void*)> f) const;

    /// For Derive: how many more rows it should edit in this commit, and what to derive afterwards
    /// in transactions of its own.
    [[nodiscard]] std::size_t room() const;
    void later(AnyRef row);

  private:
    friend struct DatabaseState;
    friend class Database;
    friend class Relations;

    struct Key {
        std::uint16_t class_index;
        Uuid ref;
        friend bool operator==(const Key&, const Key&) = default;
    };

    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept {
            return key.ref.hash() ^ (std::size_t{key.class_index} * 0x9e3779b97f4a7c15ULL);
        }
    };

    struct Edit {
        const ClassInfo* cls;
        Uuid ref;
        RowPtr base;                   ///< null: inserted here
        std::shared_ptr<void> record;  ///< null: erased here
        bool touched = false;
    };

    explicit Txn(DatabaseState& state);

    [[nodiscard]] Edit* edit_of(const ClassInfo& cls, const Uuid& ref) const;
    Edit& add(Edit edit);
    Edit& open(const ClassInfo& cls, const Uuid& ref);

    DatabaseState& state_;
    mutable std::deque<Edit> edits_;
    std::unordered_map<Key, Edit*, KeyHash> places_;
    std::vector<AnyRef> later_;
    std::size_t room_ = derived_rows_max;
    bool deriving_ = false;
};

}  // namespace basalt::db
