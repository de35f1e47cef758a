#include "xapi/domain/alarms.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/message.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr Duration look_pause = std::chrono::minutes(1);
const std::string perfmon_key = "perfmon";
constexpr const char* alarm_name = "ALARM";
constexpr std::size_t told_max = 10'000;
constexpr std::size_t looked_at_once = 256;

std::vector<perfmon::Variable> variables_of(const Map<std::string, std::string>& other_config,
                                            perfmon::Owner owner) {
    return perfmon::parse(other_config.get(perfmon_key), owner);
}

}  // namespace

Task<void> Alarms::run_forever() {
    for (;;) {
        co_await sleep_for(core_.loop, look_pause);
        if (!core_.booted) continue;
        co_await find_configured();
        for (Watched& one : watched())
            co_await look_at(std::move(one));
    }
}

/// Looks only into what changed since the last look. A list of that would be made in one turn, and
/// when clients write much, everything has changed: all rows are passed, a part in a turn.
template <class R>
Task<void> Alarms::find_configured(std::set<Uuid>& refs, db::Generation since) {
    const db::Rows all = core_.db.snapshot(xenapi::class_of<R>());
    std::size_t looked_at = 0;
    for (const db::Row* row : all.pointers()) {
        if (++looked_at % looked_at_once == 0) co_await core_.turns.next({"", "alarms"});
        if (row->modified <= since) continue;
        if (row->as<R>().other_config.contains(perfmon_key))
            refs.insert(row->ref);
        else
            refs.erase(row->ref);
    }
    std::erase_if(refs, [&](const Uuid& ref) { return core_.db.find(Ref<R>{ref}) == nullptr; });
}

Task<void> Alarms::find_configured() {
    const db::Generation since = std::exchange(looked_, core_.db.published());
    co_await find_configured<Host>(hosts_, since);
    co_await find_configured<Vm>(vms_, since);
    co_await find_configured<Sr>(srs_, since);
}

std::optional<Alarms::Watched> Alarms::of_host(const Uuid& ref) const {
    const Host& row = core_.db.get(Ref<Host>{ref});
    return Watched{{perfmon::Owner::host, row.uuid, Ref<Host>{ref}},
                   Cls::host,
                   variables_of(row.other_config, perfmon::Owner::host)};
}

std::optional<Alarms::Watched> Alarms::of_vm(const Uuid& ref) const {
    const Vm& row = core_.db.get(Ref<Vm>{ref});
    if (row.resident_on.null()) return std::nullopt;  // nothing is measured of it
    return Watched{{perfmon::Owner::vm, row.uuid, row.resident_on},
                   Cls::vm,
                   variables_of(row.other_config, perfmon::Owner::vm)};
}

std::optional<Alarms::Watched> Alarms::of_sr(const Uuid& ref) const {
    const Sr& row = core_.db.get(Ref<Sr>{ref});
    Ref<Host> home;
    for (const auto pbd : row.PBDs)
        if (core_.db.get(pbd).currently_attached) home = core::home_of(core_, Ref<Sr>{ref});
    if (home.null()) return std::nullopt;
    return Watched{{perfmon::Owner::sr, row.uuid, home},
                   Cls::sr,
                   variables_of(row.other_config, perfmon::Owner::sr)};
}

std::vector<Alarms::Watched> Alarms::watched() const {
    std::vector<Watched> out;
    const auto add = [&](std::optional<Watched> one) {
        if (one && !one->variables.empty() && core_.hosts->connected(one->owner.host))
            out.push_back(*std::move(one));
    };
    for (const Uuid& ref : hosts_)
        add(of_host(ref));
    for (const Uuid& ref : vms_)
        add(of_vm(ref));
    for (const Uuid& ref : srs_)
        add(of_sr(ref));
    return out;
}

Task<void> Alarms::look_at(Watched watched) {
    std::string failure;
    try {
        // A mean a period, however many variables have it.
        std::map<std::int64_t, std::map<std::string, double>> means;
        for (const perfmon::Variable& variable : watched.variables) {
            const std::int64_t seconds = variable.period_seconds;
            if (!means.contains(seconds))
                means[seconds] = co_await core_.hosts->agent(watched.owner.host)
                                     .metrics_means({.owner = watched.owner.kind,
                                                     .uuid = watched.owner.uuid,
                                                     .seconds = seconds});
            const auto figure = perfmon::figure(variable, means.at(seconds));
            if (figure && perfmon::is_alarm(variable, *figure)) tell(watched, variable, *figure);
        }
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty())
        log::debug("alarms_not_looked", {{"uuid", watched.owner.uuid}, {"error", failure}});
}

void Alarms::tell(const Watched& watched, const perfmon::Variable& variable, double figure) {
    const std::int64_t now = core_.now_seconds();
    const std::string& uuid = watched.owner.uuid;
    if (now - told_at(uuid, variable.name) < variable.silence_seconds) return;
    if (told_.size() >= told_max) told_.clear();  // the messages know it still
    told_[{uuid, variable.name}] = now;
    log::info("alarm", {{"uuid", uuid}, {"variable", variable.name}, {"value", figure}});
    core_.db.transact_fact([&](db::Txn& txn) {
        post_message(core_, txn, alarm_name, variable.priority, watched.cls, uuid,
                     perfmon::body(variable, figure));
    });
}

// What an earlier xapi told stands in its messages.
std::int64_t Alarms::told_at(const std::string& uuid, const std::string& variable) {
    const auto [known, fresh] = told_.try_emplace({uuid, variable}, 0);
    if (!fresh) return known->second;
    core_.db.each<Message>([&](Ref<Message>, const Message& row) {
        if (row.name == alarm_name && row.obj_uuid == uuid &&
            perfmon::variable_in(row.body) == variable)
            known->second = std::max(known->second, row.timestamp.seconds);
    });
    return known->second;
}

}  // namespace basalt::domain
