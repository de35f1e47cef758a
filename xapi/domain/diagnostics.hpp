#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "idl/api/diagnostics_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// How many HTTP requests have come to a path since the server started.
struct RequestCount {
    std::string method;
    std::string uri;
    std::uint64_t requests = 0;
};

/// Class Diagnostics: the coordinator's own state. Members hold none, so only the coordinator's
/// memory is told and tidied.
class DiagnosticsDomain final : public xenapi::DiagnosticsApi {
  public:
    explicit DiagnosticsDomain(core::Core& core) : core_(core) {}

    /// Who counts requests; before anything is served.
    void count_by(std::function<std::vector<RequestCount>()> counts) {
        counts_ = std::move(counts);
    }

    Task<xenapi::Map<std::string, std::string>> db_stats(Call& call) override;
    Task<xenapi::Map<std::string, std::string>> gc_stats(
        Call& call, xenapi::DiagnosticsGcStats params) override;
    Task<void> gc_compact(Call& call, xenapi::DiagnosticsGcCompact params) override;
    /// A row a path that was asked for: method, uri and requests, or those of them that `params`
    /// names. Its keys method and uri choose rows.
    Task<std::vector<std::vector<std::string>>> network_stats(
        Call& call, xenapi::DiagnosticsNetworkStats params) override;

  private:
    core::Core& core_;
    std::function<std::vector<RequestCount>()> counts_ = [] { return std::vector<RequestCount>{}; };
};

}  // namespace basalt::domain
