#pragma once
#include <memory>

#include "idl/apis.hpp"
#include "xapi/core/callers.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/events.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/domain/alarms.hpp"
#include "xapi/domain/appliance.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/bonds.hpp"
#include "xapi/domain/callers.hpp"
#include "xapi/domain/crash_dumps.hpp"
#include "xapi/domain/derive.hpp"
#include "xapi/domain/diagnostics.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/host_drivers.hpp"
#include "xapi/domain/kept_states.hpp"
#include "xapi/domain/lvhd.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/recovery.hpp"
#include "xapi/domain/session.hpp"
#include "xapi/domain/small.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/start_of_day.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/task.hpp"
#include "xapi/domain/tunnels.hpp"
#include "xapi/domain/upkeep.hpp"
#include "xapi/domain/vbd.hpp"
#include "xapi/domain/vdi.hpp"
#include "xapi/domain/vif.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vmss.hpp"
#include "xapi/domain/vtpm.hpp"

namespace basalt {

/// A coordinator without its sockets: database, core and every class of the domain, joined. The
/// daemon puts sockets in front of it, a simulated pool calls it directly.
class Coordinator {
  public:
    /// Loads the store, which must outlive this. Start-up only. `stop` it before it goes.
    Coordinator(Loop& loop, db::Store& store);

    /// Loses the hosts at once, as a kill of the process does; calls under way fail. `stop`
    /// follows.
    void cut();
    /// Ends connections, tasks and background work, and waits for them.
    Task<void> stop();

    /// Keeps a connection to a host's agent from now on.
    void keep_host(std::string name, core::Hosts::Connect connect, std::string uuid = {}) {
        hosts_.keep(std::move(name), std::move(connect), std::move(uuid));
    }

    /// Called once when a newer coordinator has taken over: the process must end.
    void on_superseded(std::function<void()> handler) { hosts_.on_superseded(std::move(handler)); }

    [[nodiscard]] core::Core& core() { return core_; }

    [[nodiscard]] db::Database& db() { return db_; }

    [[nodiscard]] const xenapi::Apis& apis() const { return apis_; }

    [[nodiscard]] core::Tasks& tasks() { return tasks_; }

    /// For who lets calls in.
    [[nodiscard]] core::Callers& callers() { return callers_; }

    // For what comes by other ways than a call: archives of VMs.
    [[nodiscard]] domain::Storage& storage() { return storage_; }

    [[nodiscard]] domain::VmDomain& vms() { return vms_; }

    [[nodiscard]] domain::NetworkDomain& network() { return network_; }

    // For who knows what the class cannot: the times of calls, ways to other machines.
    [[nodiscard]] domain::HostDomain& hosts() { return host_; }

    [[nodiscard]] domain::PoolDomain& pools() { return pools_; }

    [[nodiscard]] domain::DiagnosticsDomain& diagnostics() { return diagnostics_; }

  private:
    domain::DeriveOperations derive_;
    db::Database db_;
    core::Core core_;
    core::Tasks tasks_;
    core::Events events_;
    core::Callers callers_;
    domain::Storage storage_;
    domain::Networks networks_;
    domain::PbdDomain pbds_;
    domain::SrDomain srs_;
    domain::Balloons balloons_;
    domain::KeptStates states_;
    domain::VmDomain vms_;
    domain::ApplianceDomain appliances_;
    domain::VmssDomain schedules_;
    domain::VtpmDomain vtpms_;
    domain::VbdDomain vbds_;
    domain::VdiDomain vdis_;
    domain::VifDomain vifs_;
    domain::NetworkDomain network_;
    domain::Recovery recovery_;
    domain::VlanDomain vlans_;
    domain::BondDomain bonds_;
    domain::TunnelDomain tunnels_;
    domain::PifDomain pifs_;
    domain::UserAgents agents_;
    domain::HostDomain host_;
    domain::PoolDomain pools_;
    domain::SessionDomain sessions_;
    domain::TaskDomain task_;
    domain::EventDomain event_;
    domain::SecretDomain secrets_;
    domain::MessageDomain messages_;
    domain::RoleDomain roles_;
    domain::SubjectDomain subjects_;
    domain::AuthDomain auth_;
    domain::BlobDomain blobs_;
    domain::DiagnosticsDomain diagnostics_;
    domain::CrashdumpDomain crash_dumps_;
    domain::HostCrashdumpDomain host_dumps_;
    domain::HostPatchDomain host_patches_;
    domain::HostDriverDomain drivers_;
    domain::DriverVariantDomain variants_;
    domain::LvhdDomain lvhd_;
    domain::CallerDomain caller_;
    domain::RateLimitDomain rate_limits_;
    domain::Upkeep upkeep_;
    domain::Alarms alarms_;
    domain::HostKeeper keeper_;
    core::Hosts hosts_;
    xenapi::Apis apis_;
    std::shared_ptr<Job> expiry_;
    std::shared_ptr<Job> balance_;
    std::shared_ptr<Job> snapshots_;
    std::shared_ptr<Job> keeping_up_;
    std::shared_ptr<Job> watching_figures_;
};

}  // namespace basalt
