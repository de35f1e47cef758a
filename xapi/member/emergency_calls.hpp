#pragma once
#include <string>

#include "idl/runtime/model.hpp"
#include "idl/runtime/reply.hpp"
#include "xapi/member/hostd_client.hpp"
#include "xapi/member/local_sessions.hpp"
#include "xapi/member/relay.hpp"
#include "xapi/member/watch.hpp"
#include "xapi/rpc/call_text.hpp"

namespace basalt::member {

/// The calls that a member serves itself, cut off or not (`where = "emergency"` in the data model).
/// Its own sessions may make them, and while the coordinator is there also those that it vouches
/// for, by their roles.
class EmergencyCalls {
  public:
    EmergencyCalls(Loop& loop, const MemberParts& parts, const CoordinatorWatch& watch,
                   Relay& relay)
        : loop_(loop),
          parts_(parts),
          watch_(watch),
          relay_(relay),
          sessions_(loop),
          hostd_(loop, parts) {}

    /// The message of that name if it is one of these; null otherwise.
    [[nodiscard]] static const xenapi::MessageInfo* find(const std::string& method);

    /// Throws what ends the call: SESSION_INVALID, RBAC_PERMISSION_DENIED, NOT_IMPLEMENTED for
    /// those that nothing here serves yet, ...
    Task<xenapi::Reply> run(const xenapi::MessageInfo& message, std::vector<wire::Value> params,
                            server::Peer peer);

  private:
    Task<void> check_session(const xenapi::MessageInfo& message, std::string session);
    Task<std::string> log_in(std::string user, std::string password, server::Peer peer);
    Task<std::string> log_in_by_secret(std::string secret, server::Peer peer);
    xenapi::Reply serve(const xenapi::MessageInfo& message, const std::vector<wire::Value>& params);
    void follow(const std::string& address);
    void restart_soon();

    Loop& loop_;
    const MemberParts& parts_;
    const CoordinatorWatch& watch_;
    Relay& relay_;
    LocalSessions sessions_;
    HostdClient hostd_;
};

}  // namespace basalt::member
