#pragma once
#include "idl/api/observer_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class Observer: who is told what this xapi does, and where (core/tracing.hpp makes the spans,
/// transfer/trace_export.hpp sends them). Members of a pool hold no records and answer no calls of
/// their own, so that observers of such hosts see nothing of them.
class ObserverDomain final : public xenapi::ObserverApi {
  public:
    explicit ObserverDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Observer>> create(Call& call, xenapi::ObserverCreate params) override;
    Task<void> destroy(Call& call, xenapi::ObserverDestroy params) override;
    Task<void> register_(Call& call, xenapi::ObserverRegister params) override;
    Task<void> unregister(Call& call, xenapi::ObserverUnregister params) override;
    Task<void> set_attributes(Call& call, xenapi::ObserverSetAttributes params) override;
    Task<void> set_components(Call& call, xenapi::ObserverSetComponents params) override;
    Task<void> set_enabled(Call& call, xenapi::ObserverSetEnabled params) override;
    Task<void> set_endpoints(Call& call, xenapi::ObserverSetEndpoints params) override;
    Task<void> set_hosts(Call& call, xenapi::ObserverSetHosts params) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
