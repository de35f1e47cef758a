#pragma once
#include <functional>
#include <map>
#include <memory>

#include "agent_verbs.hpp"
#include "base/rpc.hpp"
#include "xapi/core/core.hpp"

namespace basalt::core {

/// What the coordinator does when a host's agent appears, speaks or goes. Implemented by the
/// domain.
class HostWatcher {
  public:
    virtual ~HostWatcher() = default;
    /// A hostd answered `hello`. Returns the host's row, made when it is new.
    virtual Task<xenapi::Ref<xenapi::Host>> host_appeared(agent::HostFacts facts,
                                                          agent::Host& agent) = 0;
    virtual void host_lost(xenapi::Ref<xenapi::Host> host) = 0;
    virtual void on_domain(xenapi::Ref<xenapi::Host> host, agent::DomainInfo domain) = 0;
    virtual void on_guest(xenapi::Ref<xenapi::Host> host, agent::GuestFacts facts) = 0;
    virtual void on_nics(xenapi::Ref<xenapi::Host> host, std::vector<agent::NicFacts> nics) = 0;
};

/// hostd names objects by uuid, clients by reference: the error with every uuid of a known object
/// replaced.
ApiError with_references(const db::Database& db, const ApiError& error);

/// The connections to the hosts' agents: kept up for ever, one a host.
class Hosts {
  public:
    using Connect = std::function<Task<std::unique_ptr<rpc::Channel>>()>;

    Hosts(Core& core, HostWatcher& watcher) : core_(core), watcher_(watcher) {}

    /// Ends all connections and the work on them; nothing of this object runs afterwards.
    Task<void> stop();

    /// Starts to keep a connection. Call `login` and such through `local()` even before start of
    /// day is over.
    void keep(std::string name, Connect connect);

    /// The agent of a host whose start of day is over. Throws HOST_OFFLINE [ref] while it is not
    /// connected.
    agent::Host& agent(xenapi::Ref<xenapi::Host> host);
    [[nodiscard]] bool connected(xenapi::Ref<xenapi::Host> host) const;
    /// The agent on this machine, whatever its state; HOST_STILL_BOOTING while there is none.
    agent::Host& local();
    /// Waits until some host's start of day is over.
    Task<void> ready();

  private:
    struct Link;
    Task<void> keep_up(std::shared_ptr<Link> link);
    Task<void> serve(std::shared_ptr<Link> link);

    Core& core_;
    HostWatcher& watcher_;
    std::vector<std::shared_ptr<Link>> links_;
    std::vector<std::shared_ptr<Job>> jobs_;
    bool stopping_ = false;
};

}  // namespace basalt::core
