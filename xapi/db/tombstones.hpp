#pragma once
#include <deque>

#include "xapi/db/types.hpp"

namespace basalt::db {

/// Deletions in order, for a day or a million of them.
class Tombstones {
  public:
    void add(Tombstone tombstone);
    /// Forgets what is too old or too much.
    void trim(std::int64_t now_s);
    void each(Generation after, FunctionRef<void(const Tombstone&)> f) const;

    /// Deletions up to this generation may be forgotten.
    [[nodiscard]] Generation lost_below() const { return lost_below_; }

    void set_lost_below(Generation generation) { lost_below_ = generation; }

    [[nodiscard]] std::size_t size() const { return all_.size(); }

  private:
    std::deque<Tombstone> all_;
    Generation lost_below_ = 0;
};

}  // namespace basalt::db
