#include "xapi/coordinator.hpp"

#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/db/token.hpp"

namespace basalt {

Coordinator::Coordinator(Loop& loop, db::Store& store)
    : db_(loop, store, &derive_),
      core_(loop, db_),
      tasks_(core_),
      events_(core_),
      callers_(core_),
      storage_(core_),
      networks_(core_),
      pbds_(core_, storage_),
      srs_(core_, storage_, pbds_),
      balloons_(core_),
      states_(core_),
      vms_(core_, storage_, balloons_, states_),
      appliances_(core_, vms_),
      schedules_(core_, vms_, storage_),
      vtpms_(core_, states_),
      vbds_(core_),
      vdis_(core_, storage_),
      vifs_(core_),
      network_(core_, networks_),
      recovery_(core_, storage_, network_),
      vlans_(core_, networks_),
      bonds_(core_, networks_),
      tunnels_(core_, networks_),
      pifs_(core_, networks_, vlans_),
      host_(core_, {agents_, networks_, vlans_, tunnels_}),
      pools_(core_, vlans_, host_, networks_),
      sessions_(core_, agents_),
      task_(core_),
      event_(core_),
      secrets_(core_),
      messages_(core_),
      roles_(core_),
      subjects_(core_),
      auth_(core_),
      blobs_(core_),
      diagnostics_(core_),
      crash_dumps_(core_, storage_),
      lvhd_(core_),
      caller_(callers_),
      upkeep_(core_),
      alarms_(core_),
      keeper_(core_, pbds_, vifs_, storage_, appliances_, networks_, states_),
      hosts_(core_, keeper_) {
    // Generations are reserved durably before they are used, so this never was an earlier one's.
    core_.term =
        static_cast<std::int64_t>((db_.epoch() << db::token_generation_bits) | db_.published());
    core_.tasks = &tasks_;
    core_.events = &events_;
    core_.hosts = &hosts_;
    db_.each<xenapi::Pool>([&](xenapi::Ref<xenapi::Pool> pool, const xenapi::Pool& row) {
        core_.pool = pool;
        core_.this_host = row.master;
    });
    vms_.recover_by(recovery_);
    appliances_.recover_by(recovery_);
    apis_.use(vms_);
    apis_.use(appliances_);
    apis_.use(schedules_);
    apis_.use(vtpms_);
    apis_.use(vbds_);
    apis_.use(vdis_);
    apis_.use(vifs_);
    apis_.use(srs_);
    apis_.use(pbds_);
    apis_.use(network_);
    apis_.use(pifs_);
    apis_.use(vlans_);
    apis_.use(bonds_);
    apis_.use(tunnels_);
    apis_.use(pools_);
    apis_.use(host_);
    apis_.use(sessions_);
    apis_.use(task_);
    apis_.use(event_);
    apis_.use(secrets_);
    apis_.use(messages_);
    apis_.use(roles_);
    apis_.use(subjects_);
    apis_.use(auth_);
    apis_.use(blobs_);
    apis_.use(diagnostics_);
    apis_.use(crash_dumps_);
    apis_.use(host_dumps_);
    apis_.use(host_patches_);
    apis_.use(drivers_);
    apis_.use(variants_);
    apis_.use(lvhd_);
    apis_.use(caller_);
    apis_.use(rate_limits_);
    db_.derive_all();
    expiry_ = spawn(loop, "task expiry", tasks_.expire_forever());
    balance_ = spawn(loop, "memory balance", balloons_.balance_forever());
    snapshots_ = spawn(loop, "snapshot schedules", schedules_.run_forever());
    keeping_up_ = spawn(loop, "upkeep", upkeep_.run_forever());
    watching_figures_ = spawn(loop, "alarms", alarms_.run_forever());
}

void Coordinator::cut() {
    core_.stopping = true;
    hosts_.cut();
}

Task<void> Coordinator::stop() {
    // First, so that nobody waits for a host that is away.
    cut();
    const std::vector<std::shared_ptr<Job>> behind = {expiry_, balance_, snapshots_, keeping_up_,
                                                      watching_figures_};
    for (const auto& job : behind)
        job->cancel();
    for (const auto& job : behind)
        co_await job->wait();
    co_await tasks_.stop();
    co_await hosts_.stop();
    co_await keeper_.stop();
    co_await states_.stop();
    co_await storage_.stop();
}

}  // namespace basalt
