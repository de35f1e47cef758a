#pragma once
#include "idl/api/caller_api.hpp"
#include "idl/api/rate_limit_api.hpp"
#include "xapi/core/callers.hpp"

namespace basalt::domain {

/// Class Caller: client programs as an administrator enters them.
class CallerDomain final : public xenapi::CallerApi {
  public:
    explicit CallerDomain(core::Callers& callers) : callers_(callers) {}

    Task<xenapi::Ref<xenapi::Caller>> create(Call& call, xenapi::CallerCreate params) override;
    Task<void> destroy(Call& call, xenapi::CallerDestroy params) override;
    Task<void> add_group(Call& call, xenapi::CallerAddGroup params) override;
    Task<void> remove_group(Call& call, xenapi::CallerRemoveGroup params) override;
    /// A row each: uuid, name, address, program, calls, tokens.
    Task<std::vector<std::vector<std::string>>> query_all_usage(Call& call) override;
    Task<std::int64_t> query_call_count(Call& call, xenapi::CallerQueryCallCount params) override;
    Task<double> query_token_usage(Call& call, xenapi::CallerQueryTokenUsage params) override;
    Task<std::int64_t> query_group_call_count(Call& call,
                                              xenapi::CallerQueryGroupCallCount params) override;
    Task<double> query_group_token_usage(Call& call,
                                         xenapi::CallerQueryGroupTokenUsage params) override;

  private:
    [[nodiscard]] core::Callers::Usage of_group(const db::Database& db,
                                                const std::string& group) const;

    core::Callers& callers_;
};

/// Class Rate_limit: how much those programs may ask.
class RateLimitDomain final : public xenapi::RateLimitApi {
  public:
    Task<xenapi::Ref<xenapi::RateLimit>> create(Call& call,
                                                xenapi::RateLimitCreate params) override;
    Task<void> destroy(Call& call, xenapi::RateLimitDestroy params) override;
    Task<void> add_caller(Call& call, xenapi::RateLimitAddCaller params) override;
    Task<void> remove_caller(Call& call, xenapi::RateLimitRemoveCaller params) override;
    Task<void> set_burst_size(Call& call, xenapi::RateLimitSetBurstSize params) override;
    Task<void> set_fill_rate(Call& call, xenapi::RateLimitSetFillRate params) override;
};

}  // namespace basalt::domain
