#pragma once
#include <span>
#include <vector>

#include "xapi/db/txn.hpp"

namespace basalt::db {

/// Keeps both sides of the model's relations: of one-to-many the side that holds the reference
/// decides and the set follows; of many-to-many a change of either side reaches the other.
class Relations {
  public:
    Relations();

    /// Follows the transaction's edits, its own included. Idempotent within a transaction.
    void keep(Txn& txn) const;

    /// Empties the sets of one-to-many relations in a fresh record: copied from another object,
    /// they would be that object's.
    void clear_sets(const ClassInfo& cls, void* record) const;
    /// Before a load enters the rows: empties every field that follows from other rows.
    void clear_mirrors(const ClassInfo& cls, void* record) const;
    /// After a load: enters a row in the mirrors of the rows that it refers to. `find` gives the
    /// record of (class, ref), or null.
    void enter(const ClassInfo& cls, const Uuid& ref, const void* record,
               FunctionRef<void*(const ClassInfo&, const Uuid&)> find) const;
    /// Nulls stored references to rows that are not there (a store from elsewhere may have them).
    /// Whether there were any.
    bool drop_dangling(const ClassInfo& cls, void* record,
                       FunctionRef<void*(const ClassInfo&, const Uuid&)> find) const;

  private:
    /// One end of a relation, seen from the class that has the field.
    struct Link {
        const xenapi::FieldInfo* own;
        const xenapi::FieldInfo* other;
        bool stored;  ///< the own field holds the reference; always for many-to-many
        bool many;    ///< the own field is a set
        bool both;    ///< many-to-many
    };

    void keep_link(Txn& txn, const Txn::Edit& edit, const Link& link) const;
    void release_members(Txn& txn, const Txn::Edit& edit, const Link& link) const;

    std::vector<std::vector<Link>> links_;  // by class index
};

/// The references in a field of kind ref or set of ref.
[[nodiscard]] std::vector<Uuid> refs_in(const xenapi::FieldInfo& field, const void* record);
/// Adds to a set once, or sets a single reference.
void add_ref(const xenapi::FieldInfo& field, void* record, const Uuid& ref);
void remove_ref(const xenapi::FieldInfo& field, void* record, const Uuid& ref);
/// Whether a field is a reference or a set of references, to which class.
[[nodiscard]] std::uint16_t ref_class(const xenapi::FieldInfo& field);

}  // namespace basalt::db
