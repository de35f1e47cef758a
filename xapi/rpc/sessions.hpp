#pragma once
#include <string>

#include "xapi/core/call.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::server {

/// The callers behind session references. The rows are made by the domain (logging in) and live in
/// the volatile table of class session. Loop only.
class Sessions {
  public:
    explicit Sessions(core::Core& core) : core_(core) {}

    /// Who holds that session. Notes that it was used. Throws SESSION_INVALID [text].
    Caller caller(const std::string& session, const HttpRequest& request);
    /// Whoever calls without a session; on the host's own socket that is root. Who showed a
    /// certificate that stands for a password has the role that it would log in with.
    [[nodiscard]] Caller stranger(const HttpRequest& request) const;

    /// Ends sessions that nobody used for session_idle_time. Runs until cancelled.
    Task<void> expire_forever();
    /// One round of it.
    void expire();

  private:
    [[nodiscard]] xenapi::RoleMask roles_of(const xenapi::Session& session) const;
    void mark_used(xenapi::Ref<xenapi::Session> ref, const xenapi::Session& session);

    core::Core& core_;
};

/// Throws RBAC_PERMISSION_DENIED unless one of `roles` is the caller's. A mask without any bit is
/// for root and the pool's own hosts.
void require_role(const Caller& caller, xenapi::RoleMask roles, const std::string& permission);

/// Every role.
inline constexpr xenapi::RoleMask all_roles = 0x7f;

}  // namespace basalt::server
