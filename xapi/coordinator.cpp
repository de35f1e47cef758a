#include "xapi/coordinator.hpp"

#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/core/callers.hpp"
#include "xapi/core/events.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/core/tracing.hpp"
#include "xapi/db/token.hpp"
#include "xapi/domain/alarms.hpp"
#include "xapi/domain/appliance.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/bonds.hpp"
#include "xapi/domain/callers.hpp"
#include "xapi/domain/crash_dumps.hpp"
#include "xapi/domain/database_copies.hpp"
#include "xapi/domain/derive.hpp"
#include "xapi/domain/diagnostics.hpp"
#include "xapi/domain/dr_task.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/host_drivers.hpp"
#include "xapi/domain/kept_states.hpp"
#include "xapi/domain/lvhd.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/observers.hpp"
#include "xapi/domain/pci.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/recovery.hpp"
#include "xapi/domain/sdn_controllers.hpp"
#include "xapi/domain/session.hpp"
#include "xapi/domain/small.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/sriov.hpp"
#include "xapi/domain/start_of_day.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/task.hpp"
#include "xapi/domain/tunnels.hpp"
#include "xapi/domain/upkeep.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/vbd.hpp"
#include "xapi/domain/vdi.hpp"
#include "xapi/domain/vif.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/vmss.hpp"
#include "xapi/domain/vtpm.hpp"

namespace basalt {

// In the order of their dependence.
struct Coordinator::Parts {
    Parts(Loop& loop, db::Store& store);

    domain::DeriveOperations derive;
    db::Database db;
    core::Core core;
    core::Tasks tasks;
    core::Tracing tracing;
    core::Events events;
    core::Callers callers;
    domain::Storage storage;
    domain::DatabaseCopies copies;
    domain::Networks networks;
    domain::PbdDomain pbds;
    domain::SrDomain srs;
    domain::DrTaskDomain recoveries;
    domain::MemoryLedger memory;
    domain::Balloons balloons;
    domain::KeptStates states;
    domain::VmDomain vms;
    domain::ApplianceDomain appliances;
    domain::VmssDomain schedules;
    domain::VtpmDomain vtpms;
    domain::VbdDomain vbds;
    domain::VdiDomain vdis;
    domain::VifDomain vifs;
    domain::PusbDomain pusbs;
    domain::UsbGroupDomain usb_groups;
    domain::VusbDomain vusbs;
    domain::NetworkDomain network;
    domain::Recovery recovery;
    domain::VlanDomain vlans;
    domain::BondDomain bonds;
    domain::TunnelDomain tunnels;
    domain::SdnControllerDomain controllers;
    domain::PifDomain pifs;
    domain::UserAgents agents;
    domain::HostDomain host;
    domain::PoolDomain pools;
    domain::SessionDomain sessions;
    domain::TaskDomain task;
    domain::EventDomain event;
    domain::SecretDomain secrets;
    domain::MessageDomain messages;
    domain::RoleDomain roles;
    domain::SubjectDomain subjects;
    domain::AuthDomain auth;
    domain::BlobDomain blobs;
    domain::DiagnosticsDomain diagnostics;
    domain::CrashdumpDomain crash_dumps;
    domain::HostCrashdumpDomain host_dumps;
    domain::HostPatchDomain host_patches;
    domain::HostDriverDomain drivers;
    domain::DriverVariantDomain variants;
    domain::LvhdDomain lvhd;
    domain::ObserverDomain observers;
    domain::PciDomain pcis;
    domain::NetworkSriovDomain sriovs;
    domain::CallerDomain caller;
    domain::RateLimitDomain rate_limits;
    domain::Upkeep upkeep;
    domain::Alarms alarms;
    domain::HostKeeper keeper;
    core::Hosts hosts;
    xenapi::Apis apis;
    std::shared_ptr<Job> expiry;
    std::shared_ptr<Job> balance;
    std::shared_ptr<Job> snapshots;
    std::shared_ptr<Job> keeping_up;
    std::shared_ptr<Job> watching_figures;
    std::shared_ptr<Job> copying;
};

Coordinator::Parts::Parts(Loop& loop, db::Store& store)
    : db(loop, store, &derive),
      core(loop, db),
      tasks(core),
      tracing(core),
      events(core),
      callers(core),
      storage(core),
      copies(core, storage),
      networks(core),
      pbds(core, storage),
      srs(core, storage, pbds, copies),
      recoveries(core, srs, pbds),
      memory(db),
      balloons(core, memory),
      states(core),
      vms(core, storage, memory, balloons, states),
      appliances(core, vms),
      schedules(core, vms, storage),
      vtpms(core, states),
      vbds(core),
      vdis(core, storage, copies),
      vifs(core),
      pusbs(core),
      vusbs(core),
      network(core, networks),
      recovery(core, storage, network),
      vlans(core, networks),
      bonds(core, networks),
      tunnels(core, networks),
      controllers(core, networks),
      pifs(core, networks, vlans),
      host(core, {agents, networks, vlans, tunnels, memory}),
      pools(core, vlans, host, networks, copies),
      sessions(core, agents),
      task(core),
      event(core),
      secrets(core),
      messages(core),
      roles(core),
      subjects(core),
      auth(core),
      blobs(core),
      diagnostics(core),
      crash_dumps(core, storage),
      lvhd(core),
      observers(core),
      pcis(core),
      sriovs(core, networks),
      caller(callers),
      upkeep(core),
      alarms(core),
      keeper(core, pbds, vifs, storage, appliances, networks, states),
      hosts(core, keeper) {
    // Generations are reserved durably before they are used, so this never was an earlier one's.
    core.term =
        static_cast<std::int64_t>((db.epoch() << db::token_generation_bits) | db.published());
    core.tasks = &tasks;
    core.tracing = &tracing;
    core.events = &events;
    core.hosts = &hosts;
    db.each<xenapi::Pool>([&](xenapi::Ref<xenapi::Pool> pool, const xenapi::Pool& row) {
        core.pool = pool;
        core.this_host = row.master;
    });
    tracing.reload();
    copies.look_by(
        [this](Call& call, std::shared_ptr<db::Database> database, const std::string& user) {
            return sessions.look_at(call, std::move(database), user);
        });
    host.trust_changed_by([this] { return pools.readmit_clients(); });
    vms.recover_by(recovery);
    appliances.recover_by(recovery);
    apis.use(vms);
    apis.use(appliances);
    apis.use(schedules);
    apis.use(vtpms);
    apis.use(vbds);
    apis.use(vdis);
    apis.use(vifs);
    apis.use(pusbs);
    apis.use(usb_groups);
    apis.use(vusbs);
    apis.use(srs);
    apis.use(recoveries);
    apis.use(pbds);
    apis.use(network);
    apis.use(pifs);
    apis.use(vlans);
    apis.use(bonds);
    apis.use(tunnels);
    apis.use(controllers);
    apis.use(pools);
    apis.use(host);
    apis.use(sessions);
    apis.use(task);
    apis.use(event);
    apis.use(secrets);
    apis.use(messages);
    apis.use(roles);
    apis.use(subjects);
    apis.use(auth);
    apis.use(blobs);
    apis.use(diagnostics);
    apis.use(crash_dumps);
    apis.use(host_dumps);
    apis.use(host_patches);
    apis.use(drivers);
    apis.use(variants);
    apis.use(lvhd);
    apis.use(observers);
    apis.use(pcis);
    apis.use(sriovs);
    apis.use(caller);
    apis.use(rate_limits);
    db.derive_all();
    expiry = spawn(loop, "task expiry", tasks.expire_forever());
    balance = spawn(loop, "memory balance", balloons.balance_forever());
    snapshots = spawn(loop, "snapshot schedules", schedules.run_forever());
    keeping_up = spawn(loop, "upkeep", upkeep.run_forever());
    watching_figures = spawn(loop, "alarms", alarms.run_forever());
    copying = spawn(loop, "copies of the database", copies.run_forever());
}

Coordinator::Coordinator(Loop& loop, db::Store& store)
    : parts_(std::make_unique<Parts>(loop, store)) {}

Coordinator::~Coordinator() = default;

void Coordinator::cut() {
    parts_->core.stopping = true;
    parts_->hosts.cut();
}

Task<void> Coordinator::stop() {
    // First, so that nobody waits for a host that is away.
    cut();
    const std::vector<std::shared_ptr<Job>> behind = {parts_->expiry,           parts_->balance,
                                                      parts_->snapshots,        parts_->keeping_up,
                                                      parts_->watching_figures, parts_->copying};
    for (const auto& job : behind)
        job->cancel();
    for (const auto& job : behind)
        co_await job->wait();
    co_await parts_->tasks.stop();
    co_await parts_->hosts.stop();
    co_await parts_->keeper.stop();
    co_await parts_->states.stop();
    co_await parts_->storage.stop();
}

void Coordinator::keep_host(std::string name, core::Hosts::Connect connect, std::string uuid) {
    parts_->hosts.keep(std::move(name), std::move(connect), std::move(uuid));
}

void Coordinator::on_superseded(std::function<void()> handler) {
    parts_->hosts.on_superseded(std::move(handler));
}

core::Core& Coordinator::core() {
    return parts_->core;
}

db::Database& Coordinator::db() {
    return parts_->db;
}

const xenapi::Apis& Coordinator::apis() const {
    return parts_->apis;
}

core::Tasks& Coordinator::tasks() {
    return parts_->tasks;
}

core::Callers& Coordinator::callers() {
    return parts_->callers;
}

domain::Storage& Coordinator::storage() {
    return parts_->storage;
}

domain::VmDomain& Coordinator::vms() {
    return parts_->vms;
}

domain::NetworkDomain& Coordinator::network() {
    return parts_->network;
}

domain::HostDomain& Coordinator::hosts() {
    return parts_->host;
}

domain::PoolDomain& Coordinator::pools() {
    return parts_->pools;
}

domain::DatabaseCopies& Coordinator::copies() {
    return parts_->copies;
}

domain::DiagnosticsDomain& Coordinator::diagnostics() {
    return parts_->diagnostics;
}

}  // namespace basalt
