#include "xapi/core/callers.hpp"

#include "base/wait.hpp"

namespace basalt::core {

namespace {

// last_access is for people who look; each write of it is an event and a row on the disk.
constexpr std::int64_t access_noted_every_seconds = 60;

/// `text` as in a User-Agent header; an entry names it whole, or the program before the slash.
bool is_program(const std::string& entered, std::string_view text) {
    return entered == text || entered == text.substr(0, text.find('/'));
}

}  // namespace

xenapi::Ref<xenapi::Caller> Callers::find(std::string_view address,
                                          std::string_view user_agent) const {
    xenapi::Ref<xenapi::Caller> best;
    int best_fit = 0;
    core_.db.each<xenapi::Caller>([&](xenapi::Ref<xenapi::Caller> ref, const xenapi::Caller& row) {
        if (!row.client_ip.empty() && row.client_ip != address) return;
        if (!row.user_agent.empty() && !is_program(row.user_agent, user_agent)) return;
        const int fit = (row.client_ip.empty() ? 0 : 2) + (row.user_agent.empty() ? 0 : 1);
        // One that names neither would be everybody.
        if (fit <= best_fit) return;
        best = ref;
        best_fit = fit;
    });
    return best;
}

Task<void> Callers::admit(std::string address, std::string user_agent) {
    const xenapi::Ref<xenapi::Caller> caller = find(address, user_agent);
    if (!caller) co_return;
    note_access(caller);
    Usage& usage = usage_[caller];
    ++usage.calls;
    const xenapi::Ref<xenapi::RateLimit> limit = core_.db.get(caller).rate_limit;
    if (core_.db.find(limit) == nullptr) co_return;
    usage.tokens += 1;
    const Duration wait = take(limit);
    if (wait > Duration::zero()) co_await sleep_for(core_.loop, wait);
}

Duration Callers::take(xenapi::Ref<xenapi::RateLimit> limit) {
    std::erase_if(buckets_,
                  [&](const auto& entry) { return core_.db.find(entry.first) == nullptr; });
    const xenapi::RateLimit& row = core_.db.get(limit);
    const Time now = core_.loop.now();
    const auto known = buckets_.find(limit);
    const bool same = known != buckets_.end() && known->second.rate == row.fill_rate &&
                      known->second.burst == row.burst_size;
    if (same) return known->second.limit.take(now);
    Bucket fresh{row.fill_rate, row.burst_size, {row.fill_rate, row.burst_size, now}};
    return buckets_.insert_or_assign(limit, fresh).first->second.limit.take(now);
}

void Callers::note_access(xenapi::Ref<xenapi::Caller> caller) {
    const std::int64_t now = core_.now_seconds();
    if (now - core_.db.get(caller).last_access.seconds < access_noted_every_seconds) return;
    core_.db.transact_fact(
        [&](db::Txn& txn) { txn.edit(caller).last_access = xenapi::DateTime{now}; });
}

Callers::Usage Callers::usage(xenapi::Ref<xenapi::Caller> caller) const {
    const auto known = usage_.find(caller);
    return known == usage_.end() ? Usage{} : known->second;
}

}  // namespace basalt::core
