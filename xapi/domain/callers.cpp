#include "xapi/domain/callers.hpp"

#include <algorithm>
#include <cmath>
#include <format>

#include "idl/errors.hpp"
#include "xapi/core/call.hpp"

namespace basalt::domain {

namespace {

using xenapi::Ref;

// A bucket that never fills, or never holds a token, would keep its callers out for ever.
void check_burst(double tokens) {
    if (!std::isfinite(tokens) || tokens < 1)
        throw err::invalid_value("burst_size", std::format("{}", tokens));
}

void check_rate(double tokens_per_second) {
    if (!std::isfinite(tokens_per_second) || tokens_per_second <= 0)
        throw err::invalid_value("fill_rate", std::format("{}", tokens_per_second));
}

}  // namespace

Task<Ref<xenapi::Caller>> CallerDomain::create(Call& call, xenapi::CallerCreate params) {
    if (params.args.client_ip.empty() && params.args.user_agent.empty())
        throw err::invalid_value("client_ip", "");
    co_return call.db().transact([&](db::Txn& txn) {
        txn.each<xenapi::Caller>([&](Ref<xenapi::Caller>, const xenapi::Caller& other) {
            if (other.client_ip == params.args.client_ip &&
                other.user_agent == params.args.user_agent)
                throw err::invalid_value("user_agent", params.args.user_agent);
        });
        return txn.insert(std::move(params.args));
    });
}

Task<void> CallerDomain::destroy(Call& call, xenapi::CallerDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> CallerDomain::add_group(Call& call, xenapi::CallerAddGroup params) {
    if (params.group.empty()) throw err::invalid_value("group", "");
    call.db().transact([&](db::Txn& txn) {
        auto& groups = txn.edit(params.self).groups;
        if (!std::ranges::contains(groups, params.group)) groups.push_back(params.group);
    });
    co_return;
}

Task<void> CallerDomain::remove_group(Call& call, xenapi::CallerRemoveGroup params) {
    call.db().transact(
        [&](db::Txn& txn) { std::erase(txn.edit(params.self).groups, params.group); });
    co_return;
}

Task<std::vector<std::vector<std::string>>> CallerDomain::query_all_usage(Call& call) {
    std::vector<std::vector<std::string>> rows;
    call.db().each<xenapi::Caller>([&](Ref<xenapi::Caller> ref, const xenapi::Caller& row) {
        const core::Callers::Usage usage = callers_.usage(ref);
        rows.push_back({row.uuid, row.name_label, row.client_ip, row.user_agent,
                        std::to_string(usage.calls), std::format("{}", usage.tokens)});
    });
    co_return rows;
}

Task<std::int64_t> CallerDomain::query_call_count(Call& call, xenapi::CallerQueryCallCount params) {
    (void)call.db().get(params.self);
    co_return callers_.usage(params.self).calls;
}

Task<double> CallerDomain::query_token_usage(Call& call, xenapi::CallerQueryTokenUsage params) {
    (void)call.db().get(params.self);
    co_return callers_.usage(params.self).tokens;
}

core::Callers::Usage CallerDomain::of_group(const db::Database& db,
                                            const std::string& group) const {
    core::Callers::Usage sum;
    db.each<xenapi::Caller>([&](Ref<xenapi::Caller> ref, const xenapi::Caller& row) {
        if (!std::ranges::contains(row.groups, group)) return;
        const core::Callers::Usage usage = callers_.usage(ref);
        sum.calls += usage.calls;
        sum.tokens += usage.tokens;
    });
    return sum;
}

Task<std::int64_t> CallerDomain::query_group_call_count(Call& call,
                                                        xenapi::CallerQueryGroupCallCount params) {
    co_return of_group(call.db(), params.group).calls;
}

Task<double> CallerDomain::query_group_token_usage(Call& call,
                                                   xenapi::CallerQueryGroupTokenUsage params) {
    co_return of_group(call.db(), params.group).tokens;
}

Task<Ref<xenapi::RateLimit>> RateLimitDomain::create(Call& call, xenapi::RateLimitCreate params) {
    check_burst(params.args.burst_size);
    check_rate(params.args.fill_rate);
    co_return call.db().transact([&](db::Txn& txn) { return txn.insert(std::move(params.args)); });
}

// Its callers are bounded no longer.
Task<void> RateLimitDomain::destroy(Call& call, xenapi::RateLimitDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        for (const auto caller : std::vector(txn.get(params.self).callers))
            txn.edit(caller).rate_limit = {};
        txn.erase(params.self);
    });
    co_return;
}

Task<void> RateLimitDomain::add_caller(Call& call, xenapi::RateLimitAddCaller params) {
    call.db().transact([&](db::Txn& txn) {
        (void)txn.get(params.self);
        txn.edit(params.caller).rate_limit = params.self;
    });
    co_return;
}

Task<void> RateLimitDomain::remove_caller(Call& call, xenapi::RateLimitRemoveCaller params) {
    call.db().transact([&](db::Txn& txn) {
        (void)txn.get(params.self);
        if (txn.get(params.caller).rate_limit == params.self)
            txn.edit(params.caller).rate_limit = {};
    });
    co_return;
}

Task<void> RateLimitDomain::set_burst_size(Call& call, xenapi::RateLimitSetBurstSize params) {
    check_burst(params.value);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).burst_size = params.value; });
    co_return;
}

Task<void> RateLimitDomain::set_fill_rate(Call& call, xenapi::RateLimitSetFillRate params) {
    check_rate(params.value);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).fill_rate = params.value; });
    co_return;
}

}  // namespace basalt::domain
