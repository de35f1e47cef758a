#include "host-agent/core/agent.hpp"

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "host-agent/api/terms.hpp"
#include "host-agent/core/ends.hpp"
#include "host-agent/core/guard.hpp"
#include "host-agent/core/planners.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

const std::string agent_room = "agent";
const std::string term_key = "term";
constexpr Duration leftover_pause = 30s;
constexpr Duration nic_pause = 10s;
constexpr Duration ssh_pause = 15s;
// A guest that crashes sooner than this after its start is not started again: it would only loop.
constexpr std::int64_t crash_loop_seconds = 60;

Json without_envelope(Json args) {
    for (const char* name : {"operation", "term", "trace"})
        args.erase(name);
    return args;
}

std::vector<std::string> names_of(const std::vector<NicFacts>& nics) {
    std::vector<std::string> out;
    for (const NicFacts& nic : nics)
        out.push_back(nic.name);
    return out;
}

}  // namespace

Agent::Agent(Loop& loop, Records& records, Backends backends)
    : loop_(loop),
      records_(records),
      backends_(backends),
      network_(loop, records, backends.network),
      ssh_(loop, records, backends.services),
      calls_(backends),
      guests_(loop, records, backends, calls_),
      metering_({.loop = loop,
                 .gauges = backends.gauges,
                 .meter = dynamic_cast<hv::Meter*>(&backends.hypervisor),
                 .seer = dynamic_cast<hv::MachineSeer*>(&backends.hypervisor),
                 .folders = backends.metrics_folders,
                 .nics = [this] { return names_of(nics_); },
                 .tell =
                     [this](HostUsage usage) {
                         if (listener_ != nullptr) listener_->on_usage(std::move(usage));
                     }}),
      journal_(records),
      runner_(loop, journal_, guests_),
      stopping_signal_(loop) {
    calls_.set_guests(guests_);
    calls_.set_metering(metering_);
    calls_.set_network(network_);
    calls_.set_ssh(ssh_);
    runner_.on_left_over = [this](const std::string& vm) { tell_left_over(vm); };
    if (const auto term = records_.get(agent_room, term_key)) term_ = std::stoll(*term);
}

Agent::~Agent() = default;

Task<void> Agent::start() {
    co_await network_.apply_remembered();
    co_await backends_.storage.adopt();
    const std::vector<DomainInfo> domains = co_await backends_.hypervisor.adopt(*this);
    log::info("adopted",
              {{"domains", domains.size()}, {"datapaths", backends_.storage.vms().size()}});
    co_await runner_.recover();
    started_ = true;
    co_await settle_early_ends();
    co_await reconcile();
    nics_ = co_await backends_.network.interfaces();
    keep(spawn(loop_, "leftovers", retry_forever()));
    keep(spawn(loop_, "nics", watch_nics()));
    keep(spawn(loop_, "ssh", watch_ssh()));
    if (!metering_.on()) co_return;
    const HostFacts facts = co_await backends_.services.facts();
    co_await metering_.start(facts.uuid, facts.boot_id);
    keep(spawn(loop_, "metering", measure_forever()));
}

Task<void> Agent::stop() {
    stopping_ = true;
    listener_ = nullptr;
    runner_.stop_now();
    stopping_signal_.notify_all();
    for (const auto& job : jobs_)
        job->cancel();
    co_await runner_.stopped();
    co_await network_.stop();
    while (!jobs_.empty()) {
        const auto job = jobs_.front();
        co_await job->wait();
        jobs_.remove(job);
    }
    co_await metering_.save();
}

void Agent::keep(std::shared_ptr<Job> job) {
    std::erase_if(jobs_, [](const auto& old) { return old->finished(); });
    jobs_.push_back(std::move(job));
}

Task<rpc::Reply> Agent::handle(rpc::Request request) {
    if (stopping_) throw err::internal_error("the host agent is stopping");
    if (backends_.guard != nullptr) backends_.guard->check(request.verb, request.args);
    if (request.verb == "acknowledge") {
        co_await journal_.acknowledge(request.args.value("operations", std::vector<std::string>()));
        co_return rpc::Reply{};
    }
    if (request.verb == "resolve")
        co_return rpc::Reply{Json(co_await resolve(request.args.value("term", std::int64_t{0}))),
                             {}};
    if (!has_effect(request.verb)) co_return co_await serve(calls_, std::move(request));
    co_await take_term(request.args.value("term", std::int64_t{0}));
    // A stream that is lost with its socket: there is nothing to finish after a restart.
    if (request.verb == "vdi_import") co_return co_await serve(calls_, std::move(request));
    co_return rpc::Reply{co_await run_effect(std::move(request)), {}};
}

Task<void> Agent::take_term(std::int64_t term) {
    if (term < term_) throw term_over(term, term_);
    if (term == term_) co_return;
    term_ = term;
    std::vector<Records::Change> changes;
    changes.push_back({agent_room, term_key, std::to_string(term)});
    co_await records_.commit(std::move(changes));
    if (listener_ != nullptr) listener_->on_term(term);
}

Task<std::vector<OperationEnd>> Agent::resolve(std::int64_t term) {
    co_await take_term(term);
    co_await runner_.end_older(term);
    std::vector<OperationEnd> ends;
    for (const Entry& entry : journal_.kept())
        if (entry.term < term) ends.push_back(end_of(entry));
    co_return ends;
}

Task<Json> Agent::run_effect(rpc::Request request) {
    Runner::Request wanted;
    wanted.id = request.args.value("operation", std::string());
    wanted.term = request.args.value("term", std::int64_t{0});
    wanted.trace = request.args.value("trace", std::string());
    wanted.verb = request.verb;
    wanted.args = without_envelope(std::move(request.args));
    wanted.object = object_of(wanted.verb, wanted.args);
    wanted.progress = std::move(request.progress);
    Runner::Planner planner = [this, verb = wanted.verb, args = wanted.args, vm = wanted.object] {
        return make_plan(verb, args, guests_.have(vm));
    };
    const std::string vm = is_guest_verb(wanted.verb) ? wanted.object : std::string();
    const auto before = vm.empty() ? std::nullopt : guests_.domain(vm);
    try {
        co_return co_await runner_.run(std::move(wanted), std::move(planner));
    } catch (const std::exception&) {
        // A rebuild that failed has ended the guest, which nobody asked for.
        if (before && before->spec && !stopping_ && !guests_.have(vm).spec)
            tell_halted(vm, before->domid, *before->spec, HaltReason::crashed);
        throw;
    }
}

// -- guests that end by themselves --------------------------------------------------------------

void Agent::ended(hv::DomId dom, std::string vm_uuid, HaltReason reason) {
    if (stopping_) return;
    log::info("guest_ended", {{"vm", vm_uuid}, {"domid", dom}, {"reason", text(reason)}});
    if (!started_) return early_ends_.push_back({dom, std::move(vm_uuid), reason});
    guests_.note_ended(vm_uuid);
    keep(spawn(loop_, "guest ended", settle_end(dom, std::move(vm_uuid), reason)));
}

void Agent::rebooted(hv::DomId dom, std::string vm_uuid) {
    if (stopping_) return;
    log::info("guest_rebooted", {{"vm", vm_uuid}, {"domid", dom}});
    guests_.note_ended(vm_uuid);
    if (const auto info = guests_.domain(vm_uuid); info && listener_ != nullptr)
        listener_->on_domain(*info);
}

void Agent::preserved(hv::DomId dom, std::string vm_uuid, HaltReason reason) {
    log::info("guest_preserved", {{"vm", vm_uuid}, {"domid", dom}, {"reason", text(reason)}});
    guests_.note_ended(vm_uuid);
    auto info = guests_.domain(vm_uuid);
    if (!info || listener_ == nullptr) return;
    info->reason = reason;
    listener_->on_domain(std::move(*info));
}

void Agent::guest_changed(GuestFacts facts) {
    if (listener_ != nullptr) listener_->on_guest(std::move(facts));
}

void Agent::memory_moved(std::string vm_uuid, std::int64_t actual_bytes) {
    if (listener_ != nullptr)
        listener_->on_memory({.uuid = std::move(vm_uuid), .actual_bytes = actual_bytes});
}

void Agent::state_changed(StateRef state) {
    if (listener_ != nullptr) listener_->on_state(std::move(state));
}

OnHalt Agent::policy(const VmSpec& spec, HaltReason reason) const {
    switch (reason) {
        case HaltReason::shutdown:
            return spec.on_shutdown;
        case HaltReason::reboot:
            return spec.on_reboot;
        case HaltReason::crashed:
            return spec.on_crash;
        default:
            return OnHalt::destroy;
    }
}

Task<void> Agent::settle_end(hv::DomId dom, std::string vm, HaltReason reason) {
    {
        // A plan that waits for this end has the VM: what it leaves is what counts.
        const auto lease = co_await runner_.hold(vm);
    }
    const auto info = guests_.domain(vm);
    const plan::Have have = guests_.have(vm);
    if (stopping_ || !have.spec || (info && info->domid != dom)) co_return;
    const VmSpec spec = *have.spec;
    const std::int64_t now = loop_.wall_ns() / 1'000'000'000;
    // Unknown (an earlier hostd started it): long ago.
    const std::int64_t age = now - guests_.started_at(vm).value_or(0);
    OnHalt action = policy(spec, reason);
    if (action == OnHalt::restart && reason == HaltReason::crashed && age < crash_loop_seconds) {
        log::warn("crash_loop", {{"vm", vm}, {"age_seconds", age}});
        action = OnHalt::destroy;
    }
    const bool restart = action == OnHalt::restart;
    Runner::Request request;
    request.id = "ended/" + vm + "/" + std::to_string(dom);
    request.verb = restart ? "vm_rebuild" : "vm_ended";
    request.args = Json::object();
    request.object = vm;
    request.keep = false;
    bool obsolete = false;
    Runner::Planner planner = [this, vm, dom, restart, &obsolete] {
        const plan::Have seen = guests_.have(vm);
        const auto domain = guests_.domain(vm);
        obsolete = !seen.spec || (domain && domain->domid != dom);
        if (obsolete) throw err::internal_error("the guest has been dealt with");
        return restart ? plan::vm_rebuild(seen) : plan::vm_ended(seen);
    };
    bool failed = false;
    try {
        co_await runner_.run(std::move(request), std::move(planner));
    } catch (const ApiError& error) {
        failed = true;
        if (!obsolete && !stopping_)
            log::error("guest_end_not_settled", {{"vm", vm}, {"error", error.what()}});
    }
    if (obsolete || stopping_) co_return;
    if (restart && !failed) {
        if (const auto fresh = guests_.domain(vm); fresh && listener_ != nullptr)
            listener_->on_domain(*fresh);
        co_return;
    }
    tell_halted(vm, dom, spec, reason);
}

void Agent::tell_left_over(const std::string& vm) {
    if (listener_ == nullptr) return;
    DomainInfo gone;
    gone.uuid = vm;
    gone.power = DomainPower::halted;
    listener_->on_domain(guests_.domain(vm).value_or(gone));
}

void Agent::tell_halted(const std::string& vm, hv::DomId dom, VmSpec spec, HaltReason reason) {
    if (listener_ == nullptr) return;
    DomainInfo info;
    info.uuid = vm;
    info.domid = dom;
    info.power = DomainPower::halted;
    info.reason = reason;
    info.spec = std::move(spec);
    info.spec->seed.reset();
    listener_->on_domain(std::move(info));
}

// -- reconciliation ---------------------------------------------------------------------------

Task<void> Agent::reconcile() {
    for (const auto& [vm, spec] : guests_.remembered())
        if (!guests_.domain(vm)) co_await release(vm);
    const auto remembered = guests_.remembered();
    for (const DomainInfo& info : backends_.hypervisor.domains()) {
        if (remembered.contains(info.uuid)) continue;
        log::warn("domain_unknown", {{"vm", info.uuid}, {"domid", info.domid}});
        if (info.spec) co_await guests_.remember(*info.spec);
    }
    for (const std::string& vm : backends_.storage.vms()) {
        if (guests_.have(vm).spec) continue;
        log::warn("disks_of_nobody", {{"vm", vm}});
        co_await backends_.storage.close_all(vm);
    }
    co_await reconcile_ports();
}

Task<void> Agent::settle_early_ends() {
    for (End& end : std::exchange(early_ends_, {}))
        co_await settle_end(end.dom, std::move(end.vm), end.reason);
}

Task<void> Agent::release(std::string vm) {
    log::warn("guest_gone", {{"vm", vm}});
    Runner::Request request;
    request.id = "gone/" + vm;
    request.verb = "vm_ended";
    request.args = Json::object();
    request.object = vm;
    request.keep = false;
    Runner::Planner planner = [this, vm] { return plan::vm_ended(guests_.have(vm)); };
    try {
        co_await runner_.run(std::move(request), std::move(planner));
    } catch (const ApiError& error) {
        log::error("guest_not_released", {{"vm", vm}, {"error", error.what()}});
    }
}

Task<void> Agent::reconcile_ports() {
    std::set<std::string> wanted;
    for (const auto& [vm, spec] : guests_.remembered())
        for (const NicSpec& nic : spec.nics)
            wanted.insert(tap_name(nic));
    std::vector<std::string> found;
    try {
        found = co_await backends_.network.ports();
    } catch (const ApiError& error) {
        // Guests run on without a switch, and must be looked after all the same.
        log::error("ports_unknown", {{"error", error.what()}});
    }
    for (const std::string& name : found) {
        if (wanted.contains(name)) continue;
        log::warn("port_of_nobody", {{"port", name}});
        try {
            co_await backends_.network.remove_port(name);
        } catch (const ApiError& error) {
            log::error("port_not_removed", {{"port", name}, {"error", error.what()}});
        }
    }
}

// -- what goes on behind --------------------------------------------------------------------------

Task<bool> Agent::pause_for(Duration time) {
    co_await stopping_signal_.wait_for(time);
    co_return !stopping_;
}

Task<void> Agent::retry_forever() {
    do {
        co_await runner_.retry_leftovers();
    } while (co_await pause_for(leftover_pause));
}

Task<void> Agent::watch_nics() {
    while (co_await pause_for(nic_pause)) {
        std::vector<NicFacts> now;
        try {
            now = co_await backends_.network.interfaces();
        } catch (const ApiError& error) {
            log::warn("nics_unknown", {{"error", error.what()}});
            continue;
        }
        if (now == nics_) continue;
        nics_ = now;
        if (listener_ != nullptr) listener_->on_nics(std::move(now));
    }
}

Task<void> Agent::watch_ssh() {
    while (co_await pause_for(ssh_pause))
        co_await ssh_.look();
}

Task<void> Agent::measure_forever() {
    while (co_await pause_for(metering_.until_next())) {
        std::string failure;
        try {
            co_await metering_.round();
        } catch (const ApiError& error) {
            failure = error.what();
        } catch (const std::system_error& error) {
            failure = error.what();
        }
        if (!failure.empty()) log::warn("not_measured", {{"error", failure}});
    }
}

}  // namespace basalt::agent
