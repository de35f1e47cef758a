#include "xapi/db/tombstones.hpp"

#include <algorithm>

#include "xapi/db/store/store.hpp"

namespace basalt::db {

void Tombstones::add(Tombstone tombstone) {
    all_.push_back(std::move(tombstone));
}

void Tombstones::trim(std::int64_t now_s) {
    while (!all_.empty() &&
           (all_.size() > tombstones_max || all_.front().deleted_s < now_s - tombstone_seconds)) {
        lost_below_ = std::max(lost_below_, all_.front().generation);
        all_.pop_front();
    }
}

void Tombstones::each(Generation after, FunctionRef<void(const Tombstone&)> f) const {
    const auto start = std::ranges::upper_bound(all_, after, {}, &Tombstone::generation);
    for (auto place = start; place != all_.end(); ++place)
        f(*place);
}

}  // namespace basalt::db
