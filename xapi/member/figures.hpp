#pragma once
#include "xapi/member/hostd_client.hpp"
#include "xapi/member/relay.hpp"
#include "xapi/member/watch.hpp"
#include "xapi/rpc/figures.hpp"

namespace basalt::member {

/// Serves this host's figures over time, which no other host has. The coordinator vouches for who
/// asks (every role may read), or the pool's secret, or being root on the unix socket. A VM that
/// this host does not know is a redirect to the coordinator, with whom the halted ones rest.
class Figures {
  public:
    Figures(Loop& loop, const MemberParts& parts, const CoordinatorWatch& watch, Relay& relay)
        : loop_(loop), parts_(parts), watch_(watch), relay_(relay), hostd_(loop, parts) {}

    void add_routes(server::Router& router);

  private:
    Task<void> serve(server::Exchange& exchange, server::FigureAction action);
    Task<void> authorise(const server::HttpRequest& request, server::FigureAction action);
    Task<UniqueFd> ask(server::FigureRequest asked);

    Loop& loop_;
    const MemberParts& parts_;
    const CoordinatorWatch& watch_;
    Relay& relay_;
    HostdClient hostd_;
};

}  // namespace basalt::member
