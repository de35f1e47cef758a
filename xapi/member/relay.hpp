#pragma once
#include <set>
#include <string>

#include "xapi/member/idle_connections.hpp"
#include "xapi/member/parts.hpp"
#include "xapi/rpc/connection.hpp"

namespace basalt::member {

/// Passes requests of this host's clients on to the coordinator, whole and unchanged, and its
/// answers back. The coordinator learns by which door the client came and whether it is root.
class Relay {
  public:
    Relay(Loop& loop, const MemberParts& parts) : loop_(loop), parts_(parts), idle_(loop) {}

    /// A request with its body read; the connection goes on afterwards. Throws HOST_STILL_BOOTING
    /// when the coordinator could not be reached: it has heard nothing. When it is lost later, the
    /// client's connection ends without an answer, because nobody knows what happened.
    Task<void> call(server::Exchange& exchange, std::string body);
    /// Everything from this request on, both ways, until either side ends: uploads, consoles, `xe`.
    /// `body` is what has been read of it already. Throws as `call`.
    Task<void> connection(server::Exchange& exchange, std::string body = {});
    /// A question of this host's own. Throws what the coordinator says, or HOST_STILL_BOOTING.
    Task<Json> ask(std::string path, Json question);
    /// Ends all that is under way: the coordinator is lost and will not answer it.
    void break_off();

  private:
    class UnderWay;
    Task<std::unique_ptr<Stream>> open(server::Peer peer);

    Loop& loop_;
    const MemberParts& parts_;
    std::set<Stream*> under_way_;
    IdleConnections idle_;
};

}  // namespace basalt::member
