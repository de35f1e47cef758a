#pragma once
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "idl/records/data_source.hpp"
#include "xapi/core/core.hpp"

/// Figures over time, which hosts measure and keep: what the records need of them, and the way of a
/// VM's past from host to host.
namespace basalt::domain {

/// Whose figures, and the host that has them.
struct FigureOwner {
    agent::MetricsOwner kind = agent::MetricsOwner::host;
    std::string uuid;
    xenapi::Ref<xenapi::Host> host;
};

// The messages of three classes, whatever the class. INVALID_VALUE: there is no such source.

Task<std::vector<xenapi::DataSource>> data_sources(core::Core& core, FigureOwner owner);
Task<double> query_data_source(core::Core& core, FigureOwner owner, std::string name);
Task<void> record_data_source(core::Core& core, FigureOwner owner, std::string name, bool recorded);

/// What hosts tell of their use, and where VMs have gone.
class FigureKeeper {
  public:
    explicit FigureKeeper(core::Core& core) : core_(core) {}

    /// Lands what has changed enough to be told, then looks whose past is in the wrong place, and
    /// whose is nobody's any more: a part in a turn. What a host tells meanwhile is passed over; it
    /// tells again soon.
    void on_usage(xenapi::Ref<xenapi::Host> host, agent::HostUsage usage);

    void host_lost(xenapi::Ref<xenapi::Host> host) { extremes_.erase(host); }

    Task<void> stop();

  private:
    using HostRef = xenapi::Ref<xenapi::Host>;

    Task<void> take(HostRef host, agent::HostUsage usage);
    void land_host(HostRef host, std::int64_t memory_free_bytes);
    void land_vms(HostRef host, std::span<const agent::VmUsage> usage);
    void tell_settings(HostRef host);
    void follow_vms(HostRef host, std::span<const agent::VmUsage> usage);
    Task<void> follow_ended(HostRef host, std::set<std::string> here);
    Task<void> forget_destroyed();
    void move_past(std::string vm, HostRef from, HostRef to);
    void keep(std::shared_ptr<Job> job);

    core::Core& core_;
    std::map<std::string, HostRef> seen_;  // VM's uuid -> the other host on which it ran last
    std::map<HostRef, bool> extremes_;     // as last told
    std::map<Uuid, std::string> known_;    // VMs and their uuids, as last looked
    db::Generation looked_ = 0;
    std::map<HostRef, std::shared_ptr<Job>> taking_;
    std::shared_ptr<Job> forgetting_;
    std::vector<std::shared_ptr<Job>> jobs_;
};

}  // namespace basalt::domain
