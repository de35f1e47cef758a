#pragma once
#include <list>
#include <memory>
#include <set>

#include "host-agent/core/agent.hpp"

namespace basalt::agent {

/// Serves an Agent to any number of peers and tells all of them its events. A peer that goes away
/// does not end the operations it asked for: it asks again for their results. Loop only.
class Server final : public Events {
  public:
    /// The agent must outlive it.
    Server(Loop& loop, Agent& agent);
    ~Server() override;

    [[nodiscard]] Loop& loop() const { return loop_; }

    /// Serves a channel until it ends.
    void serve(std::unique_ptr<rpc::Channel> channel);
    /// Loses all connections at once, as a kill of the process does.
    void cut();
    /// Ends the agent as `Agent::stop` does, and all connections.
    Task<void> stop();

    [[nodiscard]] std::size_t connections() const { return connections_.size(); }

    void on_domain(DomainInfo value) override;
    void on_guest(GuestFacts value) override;
    void on_memory(MemoryFacts value) override;
    void on_nics(std::vector<NicFacts> value) override;
    void on_state(StateRef value) override;
    void on_term(std::int64_t value) override;
    void on_usage(HostUsage value) override;

  private:
    class Connection;
    Task<void> run(std::shared_ptr<Connection> connection);
    void track(std::shared_ptr<Job> job);

    Loop& loop_;
    Agent& agent_;
    std::list<std::shared_ptr<Connection>> connections_;
    std::list<std::shared_ptr<Job>> jobs_;
};

}  // namespace basalt::agent
