#pragma once
#include <functional>
#include <memory>
#include <string>

#include "idl/apis.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt {

namespace core {
class Callers;
class Tasks;
}  // namespace core

namespace domain {
class DatabaseCopies;
class DiagnosticsDomain;
class HostDomain;
class NetworkDomain;
class PoolDomain;
class Storage;
class VmDomain;
}  // namespace domain

/// A coordinator without its sockets: database, core and every class of the domain, joined. The
/// daemon puts sockets in front of it, a simulated pool calls it directly.
class Coordinator {
  public:
    /// Loads the store, which must outlive this. Start-up only. `stop` it before it goes.
    Coordinator(Loop& loop, db::Store& store);
    ~Coordinator();
    Coordinator(const Coordinator&) = delete;
    Coordinator& operator=(const Coordinator&) = delete;

    /// Loses the hosts at once, as a kill of the process does; calls under way fail. `stop`
    /// follows.
    void cut();
    /// Ends connections, tasks and background work, and waits for them.
    Task<void> stop();

    /// Keeps a connection to a host's agent from now on.
    void keep_host(std::string name, core::Hosts::Connect connect, std::string uuid = {});

    /// Called once when a newer coordinator has taken over: the process must end.
    void on_superseded(std::function<void()> handler);

    [[nodiscard]] core::Core& core();
    [[nodiscard]] db::Database& db();
    [[nodiscard]] const xenapi::Apis& apis() const;
    [[nodiscard]] core::Tasks& tasks();
    /// For who lets calls in.
    [[nodiscard]] core::Callers& callers();

    // For what comes by other ways than a call: archives of VMs.
    [[nodiscard]] domain::Storage& storage();
    [[nodiscard]] domain::VmDomain& vms();
    [[nodiscard]] domain::NetworkDomain& network();

    // For who knows what the class cannot: the times of calls, ways to other machines.
    [[nodiscard]] domain::HostDomain& hosts();
    [[nodiscard]] domain::PoolDomain& pools();
    [[nodiscard]] domain::DiagnosticsDomain& diagnostics();
    /// For who has disks with bytes where hosts are simulated.
    [[nodiscard]] domain::DatabaseCopies& copies();

  private:
    // Every class of the domain: who includes this would otherwise be compiled anew when one
    // changes.
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace basalt
