#include "xapi/domain/figures.hpp"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_metrics.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/session.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/task.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_known = std::numeric_limits<double>::quiet_NaN();
// Every change is an event to every client: what moved less is not told.
constexpr std::int64_t memory_share_told = 128;
constexpr double utilisation_told = 0.05;
constexpr std::string_view extremes_key = "create_min_max_in_new_VM_RRDs";
constexpr std::size_t looked_at_once = 256;  // VMs, in a turn
constexpr std::size_t landed_at_once = 32;   // the same, each perhaps a change
constexpr double delay_seconds_max = 86400;

DataSource data_source_of(const agent::MetricsSource& source) {
    DataSource out;
    out.name_label = source.name;
    out.name_description = source.description;
    out.units = source.units;
    out.enabled = source.recorded;
    out.standard = source.standard;
    out.min = source.min.value_or(-infinity);
    out.max = source.max.value_or(infinity);
    out.value = source.value.value_or(not_known);
    return out;
}

// Where it runs; a VM that does not rests with the coordinator.
FigureOwner of_vm(core::Core& core, Ref<Vm> vm) {
    const Vm& row = core.db.get(vm);
    return {agent::MetricsOwner::vm, row.uuid,
            row.resident_on.null() ? core.this_host : row.resident_on};
}

FigureOwner of_host(core::Core& core, Ref<Host> host) {
    return {agent::MetricsOwner::host, core.db.get(host).uuid, host};
}

FigureOwner of_sr(core::Core& core, Ref<Sr> sr) {
    return {agent::MetricsOwner::sr, core.db.get(sr).uuid, core::home_of(core, sr)};
}

void require_running(Call& call, Ref<Vm> vm) {
    call.db().transact([&](db::Txn& txn) { require(txn, vm, VmOperations::data_source_op); });
}

Map<std::int64_t, double> utilisation_of(const agent::VmUsage& usage) {
    Map<std::int64_t, double> out;
    for (std::size_t i = 0; i < usage.vcpus.size(); ++i)
        out.insert_or_assign(static_cast<std::int64_t>(i), std::round(usage.vcpus[i] * 100) / 100);
    return out;
}

bool moved(const Map<std::int64_t, double>& before, const Map<std::int64_t, double>& now) {
    if (before.size() != now.size()) return true;
    return !std::ranges::equal(before, now, [](const auto& a, const auto& b) {
        return a.first == b.first && std::abs(a.second - b.second) < utilisation_told;
    });
}

Task<void> carry_past(core::Core& core, std::string vm, Ref<Host> from, Ref<Host> to) {
    std::int64_t first = 0;
    std::string why;
    try {
        do {
            const agent::MetricsPiece piece =
                co_await core.hosts->agent(from).metrics_take({vm, first});
            co_await core.hosts->agent(to).metrics_give({vm, piece.data});
            first = piece.next;
        } while (first > 0);
        co_await core.hosts->agent(from).metrics_drop({agent::MetricsOwner::vm, vm});
    } catch (const ApiError& error) {
        why = error.what();
    }
    // Nothing to carry is the usual reason: a VM that never ran there.
    log::debug("vm_past_carried",
               {{"vm", vm}, {"from", from.text()}, {"to", to.text()}, {"failure", why}});
}

Task<void> drop_past(core::Core& core, std::string vm) {
    std::vector<Ref<Host>> hosts;
    core.db.each<Host>([&](Ref<Host> host, const Host&) { hosts.push_back(host); });
    for (const Ref<Host> host : hosts) {
        if (!core.hosts->connected(host)) continue;  // files at rest go by their age, too
        try {
            co_await core.hosts->agent(host).metrics_drop({agent::MetricsOwner::vm, vm});
        } catch (const ApiError& error) {
            log::debug("vm_past_kept", {{"vm", vm}, {"error", error.what()}});
        }
    }
}

Task<void> tell_extremes(core::Core& core, Ref<Host> host, bool extremes) {
    try {
        co_await core.hosts->agent(host).metrics_settings({extremes});
    } catch (const ApiError& error) {
        log::debug("metrics_settings_untold", {{"host", host.text()}, {"error", error.what()}});
    }
}

/// What this process has of the machine.
std::map<std::string, double> own_figures() {
    constexpr double kib = 1024;
    const struct mallinfo2 heap = mallinfo2();
    const auto taken = static_cast<double>(heap.arena + heap.hblkhd);
    std::error_code gone;
    const std::filesystem::directory_iterator files("/proc/self/fd", gone);
    return {{"xapi_memory_usage_kib", taken / kib},
            {"xapi_live_memory_kib", static_cast<double>(heap.uordblks + heap.hblkhd) / kib},
            {"xapi_free_memory_kib", static_cast<double>(heap.fordblks) / kib},
            {"xapi_open_fds", static_cast<double>(std::distance(begin(files), end(files)))}};
}

/// What the host's guests have given up of their memory for others, and could.
std::map<std::string, double> reclaimed_figures(const db::Database& db, Ref<Host> host) {
    std::int64_t reclaimed = 0;
    std::int64_t most = 0;
    if (const Host* row = db.find(host)) {
        for (const Ref<Vm> ref : row->resident_VMs) {
            const Vm& vm = db.get(ref);
            if (vm.is_control_domain) continue;
            most += vm.memory_dynamic_max - vm.memory_dynamic_min;
            if (vm.memory_target > 0)
                reclaimed += std::max<std::int64_t>(vm.memory_dynamic_max - vm.memory_target, 0);
        }
    }
    return {{"memory_reclaimed", static_cast<double>(reclaimed)},
            {"memory_reclaimed_max", static_cast<double>(most)}};
}

/// The coordinator's host is told of its server and the pool, besides.
Task<void> tell_figures(core::Core& core, Ref<Host> host) {
    std::map<std::string, double> values = reclaimed_figures(core.db, host);
    if (host == core.this_host) {
        // The heap and the folder are walked: other calls go on.
        auto own = co_await blocking(core.loop, [] { return own_figures(); });
        values.merge(own);
        const auto rows = [&core](const ClassInfo& cls) {
            return static_cast<double>(core.db.count(cls));
        };
        values.emplace("pool_task_count", rows(xenapi::class_of<xenapi::Task>()));
        values.emplace("pool_session_count", rows(xenapi::class_of<Session>()));
    }
    try {
        co_await core.hosts->agent(host).metrics_tell({std::move(values)});
    } catch (const ApiError& error) {
        log::debug("figures_untold", {{"host", host.text()}, {"error", error.what()}});
    }
}

}  // namespace

// -- messages -------------------------------------------------------------------------------------

Task<std::vector<DataSource>> data_sources(core::Core& core, FigureOwner owner) {
    const auto found =
        co_await core.hosts->agent(owner.host).metrics_sources({owner.kind, owner.uuid, ""});
    std::vector<DataSource> out;
    for (const agent::MetricsSource& source : found)
        out.push_back(data_source_of(source));
    co_return out;
}

Task<double> query_data_source(core::Core& core, FigureOwner owner, std::string name) {
    std::vector<agent::MetricsSource> found;
    if (!name.empty())
        found =
            co_await core.hosts->agent(owner.host).metrics_sources({owner.kind, owner.uuid, name});
    if (found.empty()) throw err::invalid_value("data_source", name);
    co_return found.front().value.value_or(not_known);
}

Task<void> record_data_source(core::Core& core, FigureOwner owner, std::string name,
                              bool recorded) {
    return core.hosts->agent(owner.host)
        .metrics_record({owner.kind, owner.uuid, std::move(name), recorded});
}

Task<std::vector<DataSource>> VmDomain::get_data_sources(Call&, VmGetDataSources params) {
    return data_sources(core_, of_vm(core_, params.self));
}

Task<double> VmDomain::query_data_source(Call& call, VmQueryDataSource params) {
    require_running(call, params.self);
    return domain::query_data_source(core_, of_vm(core_, params.self), params.data_source);
}

Task<void> VmDomain::record_data_source(Call& call, VmRecordDataSource params) {
    require_running(call, params.self);
    return domain::record_data_source(core_, of_vm(core_, params.self), params.data_source, true);
}

Task<void> VmDomain::forget_data_source_archives(Call& call, VmForgetDataSourceArchives params) {
    require_running(call, params.self);
    return domain::record_data_source(core_, of_vm(core_, params.self), params.data_source, false);
}

Task<std::vector<DataSource>> HostDomain::get_data_sources(Call&, HostGetDataSources params) {
    return data_sources(core_, of_host(core_, params.host));
}

Task<double> HostDomain::query_data_source(Call&, HostQueryDataSource params) {
    return domain::query_data_source(core_, of_host(core_, params.host), params.data_source);
}

Task<void> HostDomain::record_data_source(Call&, HostRecordDataSource params) {
    return domain::record_data_source(core_, of_host(core_, params.host), params.data_source, true);
}

Task<void> HostDomain::forget_data_source_archives(Call&, HostForgetDataSourceArchives params) {
    return domain::record_data_source(core_, of_host(core_, params.host), params.data_source,
                                      false);
}

Task<void> HostDomain::backup_rrds(Call& call, HostBackupRrds params) {
    (void)call.db().get(params.host);
    if (!(params.delay >= 0 && params.delay <= delay_seconds_max))
        throw err::invalid_value("delay", std::to_string(params.delay));
    co_await sleep_for(core_.loop, std::chrono::duration_cast<Duration>(
                                       std::chrono::duration<double>(params.delay)));
    co_await core_.hosts->agent(params.host).metrics_save({});
}

Task<std::vector<DataSource>> SrDomain::get_data_sources(Call&, SrGetDataSources params) {
    return data_sources(core_, of_sr(core_, params.sr));
}

Task<double> SrDomain::query_data_source(Call&, SrQueryDataSource params) {
    return domain::query_data_source(core_, of_sr(core_, params.sr), params.data_source);
}

Task<void> SrDomain::record_data_source(Call&, SrRecordDataSource params) {
    return domain::record_data_source(core_, of_sr(core_, params.sr), params.data_source, true);
}

Task<void> SrDomain::forget_data_source_archives(Call&, SrForgetDataSourceArchives params) {
    return domain::record_data_source(core_, of_sr(core_, params.sr), params.data_source, false);
}

// -- what hosts tell -----------------------------------------------------------------------------

void FigureKeeper::on_usage(HostRef host, agent::HostUsage usage) {
    tell_settings(host);
    std::shared_ptr<Job>& taking = taking_[host];
    if (!taking || taking->finished())
        keep(taking = spawn(core_.loop, "figures of hosts", take(host, std::move(usage))));
    keep(spawn(core_.loop, "told figures", tell_figures(core_, host)));
    if (host == core_.this_host && (!forgetting_ || forgetting_->finished()))
        keep(forgetting_ = spawn(core_.loop, "forget destroyed", forget_destroyed()));
}

Task<void> FigureKeeper::take(HostRef host, agent::HostUsage usage) {
    land_host(host, usage.memory_free_bytes);
    std::set<std::string> here;
    for (std::span<const agent::VmUsage> left = usage.vms; !left.empty();) {
        const auto part = left.first(std::min(left.size(), landed_at_once));
        left = left.subspan(part.size());
        land_vms(host, part);
        follow_vms(host, part);
        for (const agent::VmUsage& vm : part)
            here.insert(vm.uuid);
        co_await core_.turns.next({"", "own figures"});
    }
    co_await follow_ended(host, std::move(here));
}

void FigureKeeper::land_host(HostRef host, std::int64_t memory_free_bytes) {
    core_.db.transact_fact([&](db::Txn& txn) {
        const xenapi::Host* its = txn.find(host);
        const HostMetrics* row = its == nullptr ? nullptr : txn.find(its->metrics);
        if (row == nullptr ||
            std::abs(row->memory_free - memory_free_bytes) <= row->memory_total / memory_share_told)
            return;
        HostMetrics& edited = txn.edit(its->metrics);
        edited.memory_free = memory_free_bytes;
        edited.last_updated = DateTime{core_.now_seconds()};
    });
}

void FigureKeeper::land_vms(HostRef host, std::span<const agent::VmUsage> usage) {
    core_.db.transact_fact([&](db::Txn& txn) {
        for (const agent::VmUsage& vm : usage) {
            const auto ref = core_.db.by_uuid<Vm>(vm.uuid);
            if (!ref || txn.get(*ref).resident_on != host) continue;
            const Ref<VmMetrics> its = txn.get(*ref).metrics;
            const VmMetrics* row = txn.find(its);
            Map<std::int64_t, double> utilisation = utilisation_of(vm);
            if (row == nullptr || (row->memory_actual == vm.memory_bytes &&
                                   !moved(row->VCPUs_utilisation, utilisation)))
                continue;
            VmMetrics& edited = txn.edit(its);
            edited.memory_actual = vm.memory_bytes;
            edited.VCPUs_utilisation = std::move(utilisation);
            edited.last_updated = DateTime{core_.now_seconds()};
        }
    });
}

void FigureKeeper::tell_settings(HostRef host) {
    const Pool* pool = core_.db.find(core_.pool);
    const bool extremes =
        pool != nullptr && pool->other_config.get(std::string(extremes_key)) == "true";
    const auto told = extremes_.find(host);
    if (told != extremes_.end() && told->second == extremes) return;
    extremes_[host] = extremes;
    keep(spawn(core_.loop, "metrics settings", tell_extremes(core_, host, extremes)));
}

void FigureKeeper::follow_vms(HostRef host, std::span<const agent::VmUsage> usage) {
    for (const agent::VmUsage& vm : usage) {
        const auto known = seen_.find(vm.uuid);
        const HostRef before = known == seen_.end() ? core_.this_host : known->second;
        if (before == host) continue;
        if (host == core_.this_host) {
            seen_.erase(known);
        } else {
            seen_[vm.uuid] = host;
        }
        move_past(vm.uuid, before, host);
    }
}

/// What ended there comes to rest here.
Task<void> FigureKeeper::follow_ended(HostRef host, std::set<std::string> here) {
    std::string from;
    for (auto at = seen_.begin(); at != seen_.end(); at = seen_.lower_bound(from)) {
        for (std::size_t i = 0; i < looked_at_once && at != seen_.end(); ++i) {
            const bool ended = at->second == host && !here.contains(at->first);
            if (ended) move_past(at->first, host, core_.this_host);
            at = ended ? seen_.erase(at) : std::next(at);
        }
        if (at == seen_.end()) break;
        from = at->first;
        co_await core_.turns.next({"", "own figures"});
    }
}

/// Hosts tell their use every few seconds. A list of what changed since would be made in one turn,
/// and when clients write much, everything has changed: all rows are passed, a part in a turn.
Task<void> FigureKeeper::forget_destroyed() {
    const db::Generation since = std::exchange(looked_, core_.db.published());
    const db::Rows all = core_.db.snapshot(xenapi::class_of<Vm>());
    std::size_t looked_at = 0;
    const auto enough = [&] { return ++looked_at % looked_at_once == 0; };
    for (const db::Row* row : all.pointers()) {
        if (enough()) co_await core_.turns.next({"", "own figures"});
        if (row->modified > since) known_.insert_or_assign(row->ref, row->as<Vm>().uuid);
    }
    std::vector<Uuid> gone;
    for (const auto& [ref, uuid] : known_) {
        if (enough()) co_await core_.turns.next({"", "own figures"});
        if (core_.db.find(Ref<Vm>{ref}) == nullptr) gone.push_back(ref);
    }
    for (const Uuid& ref : gone)
        if (auto known = known_.extract(ref))
            keep(spawn(core_.loop, "drop past", drop_past(core_, std::move(known.mapped()))));
}

void FigureKeeper::move_past(std::string vm, HostRef from, HostRef to) {
    keep(spawn(core_.loop, "carry past", carry_past(core_, std::move(vm), from, to)));
}

void FigureKeeper::keep(std::shared_ptr<Job> job) {
    std::erase_if(jobs_, [](const auto& old) { return old->finished(); });
    jobs_.push_back(std::move(job));
}

Task<void> FigureKeeper::stop() {
    for (const auto& job : jobs_)
        job->cancel();
    for (const auto& job : std::exchange(jobs_, {}))
        co_await job->wait();
}

}  // namespace basalt::domain
