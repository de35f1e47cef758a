#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "idl/apis.hpp"
#include "xapi/core/core.hpp"
#include "xapi/rpc/connection.hpp"
#include "xapi/rpc/metrics.hpp"
#include "xapi/rpc/sessions.hpp"

namespace basalt::server {

/// A request outside the RPC protocols that only some may make. `name` is its realm and permission.
struct HttpAction {
    std::string_view method;
    std::string_view path;
    std::string_view name;
    std::string_view role;  ///< the least role that may
};

/// All that the API knows; served or not.
[[nodiscard]] std::span<const HttpAction> http_actions();
/// Throws INTERNAL_ERROR for a name that is none.
[[nodiscard]] const HttpAction& http_action(std::string_view name);
/// That role and all above it; local-root is none.
[[nodiscard]] xenapi::RoleMask roles_from(std::string_view least);

/// Lets handlers run for who may, by what comes first: session_id, pool_secret (each as a cookie,
/// then in the query), Basic credentials, or being root on the unix socket. The pool's secret makes
/// the caller one of its hosts, who may everything. For a page of another site
/// (`from_foreign_page`) only the query counts. A given task_id becomes the call's task: it fails
/// with the error that ends the request and succeeds when the handler returns, unless the handler
/// ended it itself.
class HttpAuth {
  public:
    /// The call lives as long as the handler runs.
    using Body = std::function<Task<void>(Exchange&, Call&)>;

    HttpAuth(core::Core& core, const xenapi::Apis& apis, Sessions& sessions)
        : core_(core), apis_(apis), sessions_(sessions) {}

    /// Registers `body` for the action behind the check of credentials (401) and role (403).
    void add(Router& router, const HttpAction& action, Body body);
    /// Registers every known action: those that nobody serves answer NOT_IMPLEMENTED to who may
    /// ask. Call it first: later registrations replace these.
    void add_unserved(Router& router);

  private:
    struct Guarded {
        xenapi::MessageInfo message;
        std::string realm;
        xenapi::RoleMask roles = 0;
        Body body;
    };

    Task<void> serve(Exchange& exchange, std::shared_ptr<const Guarded> guarded);
    Task<void> run(Exchange& exchange, const Guarded& guarded, Caller caller,
                   xenapi::Ref<xenapi::Task> task);
    Task<Caller> authenticate(const HttpRequest& request, const Guarded& guarded, bool& logged_in);
    Task<void> log_out(const Guarded& guarded, Caller caller);

    core::Core& core_;
    const xenapi::Apis& apis_;
    Sessions& sessions_;
};

/// A parameter of a handler: the cookie of that name, else the query's; null when absent.
[[nodiscard]] const std::string* parameter(const HttpRequest& request, std::string_view name);

/// GET /metrics: with the read-only role, or without a session on the unix socket.
void add_metrics_route(Router& router, HttpAuth& auth, const Metrics& metrics);

}  // namespace basalt::server
