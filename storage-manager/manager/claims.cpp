#include "storage-manager/manager/claims.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

namespace {
constexpr int patience_rounds = 10;
constexpr Duration round = 500ms;
}  // namespace

Task<Claims::Id> Claims::take(Want want) {
    // A transfer ends a moment after its client has what it wanted.
    for (int i = 0; i < patience_rounds && conflict(want) == Conflict::passing; ++i)
        co_await released_.wait_for(round);
    if (conflict(want) != Conflict::none) throw err::vdi_in_use(want.vdi, want.what);
    held_.emplace(++last_, Held{want.disk, want.access, want.kind});
    co_return last_;
}

void Claims::release(Id id) {
    held_.erase(id);
    released_.notify_all();
}

std::size_t Claims::count(const std::string& disk) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(held_, [&disk](const auto& one) { return one.second.disk == disk; }));
}

Claims::Conflict Claims::conflict(const Want& want) const {
    Conflict worst = Conflict::none;
    for (const auto& [id, held] : held_) {
        const bool both_read = held.access == agent::Access::ro && want.access == agent::Access::ro;
        if (held.disk != want.disk || both_read) continue;
        worst = std::max(worst, held.kind == Kind::guest ? Conflict::lasting : Conflict::passing);
    }
    return worst;
}

}  // namespace basalt::sm
