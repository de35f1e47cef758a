#include "xapi/domain/vmss.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/words.hpp"
#include "xapi/rules/schedule.hpp"

namespace basalt::domain {

namespace {

constexpr Duration look_pause = 30s;
constexpr std::int64_t retained_max = 10;

std::map<std::string, std::string> plain(const Map<std::string, std::string>& schedule) {
    return {schedule.begin(), schedule.end()};
}

void require_schedule(const Map<std::string, std::string>& schedule) {
    for (const auto& [key, value] : schedule)
        rules::require_schedule_entry(key, value);
}

void require_retained(std::int64_t count) {
    if (count < 1 || count > retained_max) throw err::invalid_value("retained_snapshots", count);
}

/// Runs `body` as a call of its own, as if somebody had sent `message`.
Task<void> as_call(core::Core& core, const char* message, basalt::Caller caller,
                   std::function<Task<void>(Call&)> body) {
    Call own(core, *find_message(message), std::move(caller));
    const log::Scope scope(own.context());
    const Time begun = core.loop.now();
    std::exception_ptr failure;
    try {
        co_await body(own);
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    core::Tasks::note_end(own, begun, failure);
    core.tasks->end_synchronous(own);
    if (failure) std::rethrow_exception(failure);
}

basalt::Caller the_server() {
    basalt::Caller caller;
    caller.root = true;
    return caller;
}

}  // namespace

Task<Ref<Vmss>> VmssDomain::create(Call& call, VmssCreate params) {
    require_schedule(params.args.schedule);
    require_retained(params.args.retained_snapshots);
    co_return call.db().transact([&](db::Txn& txn) { return txn.insert(std::move(params.args)); });
}

/// Its VMs are in none afterwards, and their snapshots stay.
Task<void> VmssDomain::destroy(Call& call, VmssDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> VmssDomain::set_schedule(Call& call, VmssSetSchedule params) {
    require_schedule(params.value);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).schedule = std::move(params.value); });
    co_return;
}

Task<void> VmssDomain::add_to_schedule(Call& call, VmssAddToSchedule params) {
    rules::require_schedule_entry(params.key, params.value);
    call.db().transact([&](db::Txn& txn) {
        if (!txn.edit(params.self).schedule.emplace(params.key, params.value).second)
            throw err::map_duplicate_key("VMSS", "schedule", params.self, params.key);
    });
    co_return;
}

Task<void> VmssDomain::remove_from_schedule(Call& call, VmssRemoveFromSchedule params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).schedule.erase(params.key); });
    co_return;
}

Task<void> VmssDomain::set_frequency(Call& call, VmssSetFrequency params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).frequency = params.value; });
    co_return;
}

Task<void> VmssDomain::set_type(Call& call, VmssSetType params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).type = params.value; });
    co_return;
}

Task<void> VmssDomain::set_retained_snapshots(Call& call, VmssSetRetainedSnapshots params) {
    require_retained(params.value);
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.self).retained_snapshots = params.value; });
    co_return;
}

Task<void> VmssDomain::set_last_run_time(Call& call, VmssSetLastRunTime params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).last_run_time = params.value; });
    co_return;
}

Task<std::string> VmssDomain::snapshot_now(Call& call, VmssSnapshotNow params) {
    const Outcome outcome = co_await run(call.caller(), params.vmss);
    std::string text;
    for (const std::string& uuid : outcome.snapshots)
        text += (text.empty() ? "" : ",") + uuid;
    if (!outcome.failures.empty())
        throw ApiError(err::operation_partially_failed("").code(), {"snapshot_now"});
    co_return text;
}

Task<void> VmssDomain::run_forever() {
    for (;;) {
        co_await sleep_for(core_.loop, look_pause);
        try {
            co_await run_due();
        } catch (const ApiError& error) {
            log::warn("schedules_not_run", {{"error", error.what()}});
        }
    }
}

Task<void> VmssDomain::run_due() {
    std::vector<Ref<Vmss>> enabled;
    core_.db.each<Vmss>([&](Ref<Vmss> ref, const Vmss& row) {
        if (row.enabled && !row.VMs.empty()) enabled.push_back(ref);
    });
    std::erase_if(seen_, [&](const auto& one) { return !core_.db.find(one.first); });
    if (enabled.empty()) co_return;
    const agent::HostTime clock = co_await core_.hosts->local().host_time({});
    const std::int64_t now = clock.seconds + clock.utc_offset_seconds;
    for (const Ref<Vmss> ref : enabled) {
        const Vmss* row = core_.db.find(ref);
        if (row == nullptr) continue;
        const std::int64_t due = rules::latest_due(row->frequency, plain(row->schedule), now);
        const std::int64_t last = row->last_run_time.seconds == 0
                                      ? 0
                                      : row->last_run_time.seconds + clock.utc_offset_seconds;
        const auto [seen, first_look] = seen_.try_emplace(ref, now);
        if (first_look && last != 0 && due > last) {
            core_.db.transact_fact([&](db::Txn& txn) {
                post_message(core_, txn, "VMSS_SNAPSHOT_MISSED_EVENT", 3, Cls::vmss,
                             txn.get(ref).uuid, "The server was not running when it was due");
            });
        }
        if (due <= seen->second || due <= last) continue;
        co_await run(the_server(), ref);
    }
}

Task<VmssDomain::Outcome> VmssDomain::run(basalt::Caller caller, Ref<Vmss> vmss) {
    const std::vector<Ref<Vm>> vms(core_.db.get(vmss).VMs);
    core_.db.transact_fact(
        [&](db::Txn& txn) { txn.edit(vmss).last_run_time = DateTime{core_.now_seconds()}; });
    Outcome outcome;
    for (const Ref<Vm> vm : vms) {
        std::string failure;
        try {
            outcome.snapshots.push_back(co_await snapshot(caller, vmss, vm));
            co_await thin_out(caller, vmss, vm);
        } catch (const ApiError& error) {
            failure = error.what();
        }
        if (core_.db.find(vmss) == nullptr) break;
        if (!failure.empty()) outcome.failures.push_back(vm.text());
        core_.db.transact_fact([&](db::Txn& txn) {
            const Vm* row = txn.find(vm);
            const std::string name = row != nullptr ? row->name_label : vm.text();
            post_message(core_, txn,
                         failure.empty() ? "VMSS_SNAPSHOT_SUCCEEDED" : "VMSS_SNAPSHOT_FAILED",
                         failure.empty() ? 5 : 3, Cls::vmss, txn.get(vmss).uuid,
                         "VM '" + name + "'" + (failure.empty() ? "" : ": " + failure));
        });
    }
    co_return outcome;
}

Task<std::string> VmssDomain::snapshot(basalt::Caller caller, Ref<Vmss> vmss, Ref<Vm> vm) {
    const VmssType type = core_.db.get(vmss).type;
    if (type == VmssType::snapshot_with_quiesce)
        throw err::operation_not_allowed("This server takes no quiesced snapshots");
    const Vm row = core_.db.get(vm);
    const bool with_memory =
        type == VmssType::checkpoint && row.power_state != VmPowerState::halted;
    const std::string name = row.name_label + " " + core_.db.get(vmss).name_label + " " +
                             DateTime{core_.now_seconds()}.text();
    Ref<Vm> made;
    co_await as_call(core_, with_memory ? "VM.checkpoint" : "VM.snapshot", std::move(caller),
                     [this, vm, name, with_memory, &made](Call& own) -> Task<void> {
                         if (with_memory)
                             made = co_await vms_.checkpoint(own, {vm, name});
                         else
                             made = co_await vms_.snapshot(own, {vm, name, {}});
                     });
    co_return core_.db.transact_fact([&](db::Txn& txn) {
        txn.edit(made).is_vmss_snapshot = true;
        return txn.get(made).uuid;
    });
}

Task<void> VmssDomain::thin_out(basalt::Caller caller, Ref<Vmss> vmss, Ref<Vm> vm) {
    std::vector<std::pair<DateTime, Ref<Vm>>> taken;
    for (const auto snapshot : core_.db.get(vm).snapshots)
        if (const Vm* row = core_.db.find(snapshot); row != nullptr && row->is_vmss_snapshot)
            taken.emplace_back(row->snapshot_time, snapshot);
    std::ranges::stable_sort(taken, {}, &std::pair<DateTime, Ref<Vm>>::first);
    const auto keep =
        static_cast<std::size_t>(std::max<std::int64_t>(1, core_.db.get(vmss).retained_snapshots));
    for (std::size_t i = 0; i + keep < taken.size(); ++i)
        co_await destroy_snapshot(caller, taken[i].second);
}

Task<void> VmssDomain::destroy_snapshot(basalt::Caller caller, Ref<Vm> snapshot) {
    std::vector<Ref<Vdi>> disks;
    for (const auto vbd : core_.db.get(snapshot).VBDs) {
        const Vbd* drive = core_.db.find(vbd);
        const Vdi* disk = drive != nullptr ? core_.db.find(drive->VDI) : nullptr;
        if (disk != nullptr && disk->is_a_snapshot) disks.push_back(drive->VDI);
    }
    co_await as_call(core_, "VM.destroy", caller, [this, snapshot](Call& own) -> Task<void> {
        co_await vms_.destroy(own, {snapshot});
    });
    for (const Ref<Vdi> disk : disks)
        co_await as_call(core_, "VDI.destroy", caller, [this, disk](Call& own) -> Task<void> {
            co_await storage_.destroy_disk(own, disk);
        });
}

}  // namespace basalt::domain
