// Class host: what it is about inside, and what others tell it.
#include <algorithm>
#include <filesystem>
#include <format>
#include <fstream>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/host_drivers.hpp"
#include "xapi/domain/start_of_day.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

/// The threads of this process: number, name, state as in proc(5), where in the kernel it waits.
std::string threads() {
    std::string out;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator("/proc/self/task", gone)) {
        const std::string stat = first_line(entry.path() / "stat");
        // The name stands in parentheses and may hold some itself.
        const std::size_t after = stat.rfind(") ");
        if (after == std::string::npos) continue;
        out += std::format("thread {} {} state {} at {}\n", entry.path().filename().string(),
                           first_line(entry.path() / "comm"), stat.substr(after + 2, 1),
                           first_line(entry.path() / "wchan"));
    }
    return out;
}

/// A line a repository that the host has attached.
std::string repositories(const db::Database& db, Ref<Host> host) {
    std::string out;
    for (const auto ref : db.get(host).PBDs) {
        const Pbd& pbd = db.get(ref);
        const Sr* sr = db.find(pbd.SR);
        if (sr == nullptr) continue;
        out += std::format("repository {} type {} {} disks {} used {} of {} bytes\n", sr->uuid,
                           sr->type, pbd.currently_attached ? "attached" : "detached",
                           sr->VDIs.size(), sr->physical_utilisation, sr->physical_size);
    }
    return out;
}

/// A line a disk that a guest of the host has open.
std::string open_disks(const db::Database& db, Ref<Host> host) {
    std::string out;
    for (const auto vm : db.get(host).resident_VMs) {
        for (const auto drive : db.get(vm).VBDs) {
            const Vbd& vbd = db.get(drive);
            const Vdi* disk = db.find(vbd.VDI);
            if (!vbd.currently_attached || disk == nullptr) continue;
            out += std::format("disk {} of repository {} open {} in VM {} as {}\n", disk->uuid,
                               db.get(disk->SR).uuid, wire_text(vbd.mode), db.get(vm).uuid,
                               vbd.device);
        }
    }
    return out;
}

}  // namespace

Task<std::string> HostDomain::get_sm_diagnostics(Call& call, HostGetSmDiagnostics params) {
    co_return repositories(call.db(), params.host) + open_disks(call.db(), params.host);
}

// Another host's daemon is another process: its own /proc knows its threads.
Task<std::string> HostDomain::get_thread_diagnostics(Call& call, HostGetThreadDiagnostics params) {
    (void)call.db().get(params.host);
    if (params.host != core_.this_host)
        throw err::not_implemented(std::string(call.message().wire_name) + " of a member");
    co_return co_await blocking(core_.loop, [] { return threads(); });
}

Task<Map<std::string, std::string>> HostDomain::get_tracked_user_agents(
    Call& call, HostGetTrackedUserAgents params) {
    (void)call.db().get(params.self);
    co_return beside_.agents.programs();
}

Task<std::vector<std::string>> HostDomain::get_uncooperative_domains(
    Call& call, HostGetUncooperativeDomains params) {
    std::vector<std::string> uuids;
    for (const Ref<Vm> vm : co_await get_uncooperative_resident_VMs(call, {params.self}))
        if (const Vm* row = call.db().find(vm)) uuids.push_back(row->uuid);
    co_return uuids;
}

// The coordinator runs the pool's calls, its members pass theirs on: of them nothing is timed.
Task<Map<std::string, std::string>> HostDomain::get_diagnostic_timing_stats(
    Call& call, HostGetDiagnosticTimingStats params) {
    (void)call.db().get(params.host);
    Map<std::string, std::string> out;
    if (params.host != core_.this_host) co_return out;
    for (const Timing& timing : timings_()) {
        if (timing.count == 0) continue;
        const double mean = timing.sum_seconds / static_cast<double>(timing.count);
        std::string text = std::format("{:.6f}", mean);
        if (params.counts) text += std::format(" ({})", timing.count);
        out.insert_or_assign(timing.name, std::move(text));
    }
    co_return out;
}

// Members hold no records: there is nobody to bring up to date but the disks.
Task<void> HostDomain::sync_data(Call& call, HostSyncData params) {
    (void)call.db().get(params.host);
    co_await call.db().durable(call.db().published());
    co_await core_.hosts->agent(params.host).metrics_save({});
}

// Nor is there another copy that could be made of them: what is asked for is on the disk.
Task<void> HostDomain::request_backup(Call& call, HostRequestBackup params) {
    (void)call.db().get(params.host);
    co_await call.db().durable(call.db().published());
}

Task<void> HostDomain::bugreport_upload(Call& call, HostBugreportUpload params) {
    if (!uploader_) throw err::internal_error("this process opens no connections");
    return uploader_(call, std::move(params));
}

// Ways to disks are opened and closed with the drives of VMs; what a failure leaves the host takes
// back itself: there is none that a caller could name.
Task<void> HostDomain::sm_dp_destroy(Call& call, HostSmDpDestroy params) {
    (void)call.db().get(params.host);
    co_return;
}

Task<void> HostDomain::rescan_drivers(Call& call, HostRescanDrivers params) {
    call.db().transact([&](db::Txn& txn) { drop_drivers(txn, params.self); });
    co_return;
}

// A host is heard of by its connection; one that says so besides has been heard of now.
Task<Map<std::string, std::string>> HostDomain::tickle_heartbeat(Call& call,
                                                                 HostTickleHeartbeat params) {
    if (!core_.hosts->connected(params.host)) {
        (void)call.db().get(params.host);
        throw err::host_offline(params.host);
    }
    call.db().transact([&](db::Txn& txn) {
        const Ref<HostMetrics> metrics = txn.get(params.host).metrics;
        if (txn.find(metrics) != nullptr)
            txn.edit(metrics).last_updated = DateTime{core_.now_seconds()};
    });
    co_return Map<std::string, std::string>{};
}

// What is installed is one system, not a pack on another.
Task<void> HostDomain::refresh_pack_info(Call& call, HostRefreshPackInfo params) {
    (void)call.db().get(params.host);
    co_return;
}

Task<void> HostDomain::set_license_params(Call& call, HostSetLicenseParams params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).license_params = std::move(params.value); });
    co_return;
}

// Whoever changed the host's address outside of us says so: what it is now is read from the host.
Task<void> HostDomain::signal_networking_change(Call& call) {
    const Ref<Host> host = core_.this_host;
    const agent::HostFacts facts = co_await core_.hosts->agent(host).host_facts({});
    call.db().transact_fact([&](db::Txn& txn) { land_addresses(core_, txn, host, facts); });
}

}  // namespace basalt::domain
