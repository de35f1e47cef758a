#pragma once
#include "idl/api/diagnostics_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class Diagnostics: the coordinator's own state. Members hold none, so only the coordinator's
/// memory is told and tidied.
class DiagnosticsDomain final : public xenapi::DiagnosticsApi {
  public:
    explicit DiagnosticsDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Map<std::string, std::string>> db_stats(Call& call) override;
    Task<xenapi::Map<std::string, std::string>> gc_stats(
        Call& call, xenapi::DiagnosticsGcStats params) override;
    Task<void> gc_compact(Call& call, xenapi::DiagnosticsGcCompact params) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
