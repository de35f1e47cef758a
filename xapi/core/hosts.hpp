#pragma once
#include <functional>
#include <map>
#include <memory>

#include "agent_verbs.hpp"
#include "base/rpc_fwd.hpp"
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
    virtual void on_memory(xenapi::Ref<xenapi::Host> host, agent::MemoryFacts facts) = 0;
    virtual void on_nics(xenapi::Ref<xenapi::Host> host, std::vector<agent::NicFacts> nics) = 0;
    virtual void on_state(xenapi::Ref<xenapi::Host> host, agent::StateRef state) = 0;
    virtual void on_usage(xenapi::Ref<xenapi::Host> host, agent::HostUsage usage) = 0;
};

/// hostd names objects by uuid, clients by reference: the error with every uuid of a known object
/// replaced.
ApiError with_references(const db::Database& db, const ApiError& error);

/// The connections to the hosts' agents: kept up for ever, one a host. A verb with effects whose
/// connection is lost has an unknown outcome, which nobody may guess: it is asked again by the same
/// operation id, which acts once, as soon as the host is back.
class Hosts {
  public:
    using Connect = std::function<Task<std::unique_ptr<rpc::Channel>>()>;

    Hosts(Core& core, HostWatcher& watcher) : core_(core), watcher_(watcher) {}

    /// Closes all connections at once: no verb leaves any more, those under way fail. Before
    /// `stop`, so that nothing waits for a host that is away.
    void cut();
    /// Ends all connections and the work on them; nothing of this object runs afterwards.
    Task<void> stop();

    /// Starts to keep a connection. Call `login` and such through `local()` even before start of
    /// day is over. With a `uuid`, an agent that says it is another host is refused.
    void keep(std::string name, Connect connect, std::string uuid = {});

    /// The agent of a host whose start of day is over; good as long as this object. Throws
    /// HOST_OFFLINE [ref] while it is not connected.
    agent::Host& agent(xenapi::Ref<xenapi::Host> host);
    [[nodiscard]] bool connected(xenapi::Ref<xenapi::Host> host) const;
    /// The agent on this machine, whatever its state; HOST_STILL_BOOTING while there is none.
    agent::Host& local();
    /// Waits until some host's start of day is over.
    Task<void> ready();

    /// Waits until the host is connected; returns at once when it never was.
    Task<void> until_connected(xenapi::Ref<xenapi::Host> host);

    /// The outcome of these operations is in the records: hosts need not keep it once all that is
    /// published so far is durable.
    void landed(std::vector<std::string> operations);

    /// Called once when a host refuses this coordinator, because a newer one has spoken to it: the
    /// process must end, for its records are old.
    void on_superseded(std::function<void()> handler) { superseded_ = std::move(handler); }

  private:
    struct Link;
    struct Question;
    Task<void> keep_up(std::shared_ptr<Link> link);
    Task<void> serve(std::shared_ptr<Link> link);
    Task<rpc::Reply> ask(std::shared_ptr<Link> link, std::string verb, rpc::Json args,
                         rpc::Progress progress);
    Task<void> press(std::shared_ptr<Link> link, std::shared_ptr<Question> question);
    Task<void> attempt(std::shared_ptr<Link> link, std::shared_ptr<Question> question);
    Task<void> acknowledge(std::shared_ptr<Link> link);
    void start_acknowledging(const std::shared_ptr<Link>& link);
    void give_way(std::int64_t term);

    Core& core_;
    HostWatcher& watcher_;
    std::vector<std::shared_ptr<Link>> links_;
    std::vector<std::shared_ptr<Job>> jobs_;
    std::function<void()> superseded_;
    bool stopping_ = false;
};

}  // namespace basalt::core
