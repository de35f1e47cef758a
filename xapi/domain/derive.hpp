#pragma once
#include "xapi/db/database.hpp"

namespace basalt::domain {

/// Keeps allowed_operations true: of every touched object and of the neighbours its rules look at.
class DeriveOperations final : public db::Derive {
  public:
    void derive(db::Txn& txn, std::span<const db::Touched> touched) override;
};

}  // namespace basalt::domain
