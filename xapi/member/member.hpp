#pragma once
#include <memory>
#include <string>

#include "xapi/member/agent_link.hpp"
#include "xapi/member/emergency_calls.hpp"
#include "xapi/member/figures.hpp"
#include "xapi/member/relay.hpp"
#include "xapi/member/watch.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/metrics.hpp"

namespace basalt::member {

/// A host of a pool that does not lead it, without its sockets. It holds no records: on its unix
/// socket it passes requests on to the coordinator; over the network it says who that is
/// (HOST_IS_SLAVE, redirects). Cut off from it, it serves the emergency calls and nothing else. Its
/// hostd is asked by the coordinator by way of it. Loop only.
class Member final : public server::Answerer {
  public:
    Member(Loop& loop, MemberParts parts);
    ~Member() override;
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    /// Begins to look for the coordinator.
    void start();
    /// Ends all connections, and waits for them.
    Task<void> stop();

    /// All paths but /cli and files. `metrics` and `limits` outlive the router.
    void add_routes(server::Router& router, const server::Metrics& metrics, Limits& limits);

    Task<void> answer(server::Exchange& exchange, server::MethodCall call) override;
    Task<void> answer_text(server::Exchange& exchange, server::MethodCall call,
                           std::string body) override;

    /// A call that this host serves itself, from within. Throws HOST_IS_SLAVE for others.
    Task<xenapi::Reply> local_call(std::string method, std::vector<wire::Value> params,
                                   server::Peer peer);

    /// Why only emergency calls are served; nullopt while the coordinator is there.
    [[nodiscard]] std::optional<ApiError> why_cut_off() const;

    /// Why what a peer wants is not passed on to the coordinator: HOST_IS_SLAVE over the network,
    /// or as above. Nullopt: it is.
    [[nodiscard]] std::optional<ApiError> why_refused(const server::Peer& peer) const;

    [[nodiscard]] Relay& relay() { return relay_; }

  private:
    Task<void> say_hello_forever();
    Task<void> say_hello();
    Task<void> serve_other(server::Exchange& exchange, server::Handler files);
    Task<void> serve_metrics(server::Exchange& exchange, const server::Metrics& metrics);
    Task<void> answer_here(server::Exchange& exchange, server::MethodCall call,
                           const xenapi::MessageInfo& message);
    Task<void> refuse(server::Exchange& exchange, server::MethodCall call, ApiError error);

    Loop& loop_;
    MemberParts parts_;
    CoordinatorWatch watch_;
    Relay relay_;
    AgentLink agent_link_;
    EmergencyCalls calls_;
    Figures figures_;
    std::unique_ptr<pool::AnswerReader> greeting_;  // the connection that hellos go by
    std::string coordinator_fingerprint_;
    bool cut_off_ = true;  // as last logged
    std::vector<std::shared_ptr<Job>> jobs_;
};

}  // namespace basalt::member
