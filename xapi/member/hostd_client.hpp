#pragma once
#include <memory>
#include <string>

#include "agent_verbs.hpp"
#include "base/rpc_fwd.hpp"
#include "xapi/member/parts.hpp"

namespace basalt::member {

/// The member's own questions to its hostd: who may log in, and its figures over time. A connection
/// of its own, made when first needed and again when it broke.
class HostdClient {
  public:
    HostdClient(Loop& loop, const MemberParts& parts) : loop_(loop), parts_(parts) {}

    ~HostdClient();
    HostdClient(const HostdClient&) = delete;
    HostdClient& operator=(const HostdClient&) = delete;

    /// Throws SESSION_AUTHENTICATION_FAILED; HOST_STILL_BOOTING while there is no hostd.
    Task<void> login(std::string user, std::string password, std::string address);
    /// Of this host; what verbs.toml says, or HOST_STILL_BOOTING.
    Task<UniqueFd> figure_updates(agent::MetricsUpdatesArgs args);
    Task<UniqueFd> figures(agent::MetricsWholeArgs args);

  private:
    struct Connection;
    Task<std::shared_ptr<Connection>> connected();

    Loop& loop_;
    const MemberParts& parts_;
    std::shared_ptr<Connection> connection_;
};

}  // namespace basalt::member
