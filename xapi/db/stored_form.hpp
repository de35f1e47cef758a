#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "xapi/db/store/store.hpp"
#include "xapi/db/types.hpp"

namespace basalt::db {

/// What of a row goes to the store, and when.
class StoredForm {
  public:
    StoredForm();

    enum class Kind : std::uint8_t {
        none,   ///< lives and dies with the process
        stub,   ///< reference and uuid only: durable rows refer to it
        whole,  ///< every field that the model stores
    };

    [[nodiscard]] Kind kind(const ClassInfo& cls) const { return kinds_[cls.index]; }

    /// Whether the row may look different after a restart although nobody changed it.
    [[nodiscard]] bool forgets(const ClassInfo& cls) const { return forgets_[cls.index]; }

    enum class Need : std::uint8_t { nothing, lazily, now };

    /// Either record may be null: inserted, erased.
    [[nodiscard]] Need need(const ClassInfo& cls, const void* before, const void* after) const;

    [[nodiscard]] Change change(const ClassInfo& cls, const Uuid& ref, std::uint64_t serial,
                                Generation created, const void* record,
                                const std::string* unknown_fields) const;
    [[nodiscard]] Change deletion(const Row& row) const;
    /// The record behind a stored row. Throws INTERNAL_ERROR naming the row.
    [[nodiscard]] std::shared_ptr<void> read(const ClassInfo& cls, const StoredRow& row,
                                             std::shared_ptr<const std::string>& unknown) const;

  private:
    std::vector<Kind> kinds_;
    std::vector<bool> forgets_;
};

}  // namespace basalt::db
