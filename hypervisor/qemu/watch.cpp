#include <filesystem>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/guest_agent.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/state.hpp"

namespace basalt::hv::qemu {

namespace {

// Facts change soon after a start and hardly ever later.
constexpr int quick_polls = 8;
constexpr Duration quick_pause = 3s;
constexpr Duration slow_pause = 30s;

Task<void> run_job(StatePtr state, std::uint64_t id, Task<void> body) {
    std::exception_ptr failure;
    try {
        co_await std::move(body);
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    state->jobs.erase(id);
    if (failure && !state->closed) std::rethrow_exception(failure);
}

using Versions = std::map<agent::StateKind, std::int64_t>;

void tell_states(const StatePtr& state, const std::vector<agent::StateRef>& changed) {
    for (const agent::StateRef& one : changed)
        if (state->events != nullptr) state->events->state_changed(one);
}

// A file that was written to is newer, but for what is still on its way to the disk.
Task<void> tell_moved_states(StatePtr state, DomainPtr domain) {
    const std::string vm = domain->uuid();
    Versions now =
        co_await blocking(state->loop, [files = state->states, vm, kinds = states_of(*domain)] {
            Versions out;
            for (const agent::StateKind kind : kinds)
                out[kind] = files.version(vm, kind);
            return out;
        });
    std::vector<agent::StateRef> moved;
    for (const auto& [kind, version] : now)
        if (domain->state_versions[kind] != version) moved.push_back({.vm = vm, .kind = kind});
    domain->state_versions = std::move(now);
    tell_states(state, moved);
}

// Nobody writes any more: what has not been told must be now.
Task<void> tell_last_states(StatePtr state, DomainPtr domain) {
    const std::string vm = domain->uuid();
    std::vector<agent::StateRef> changed;
    std::string failure;
    try {
        changed =
            co_await blocking(state->loop, [files = state->states, vm, kinds = states_of(*domain)] {
                std::vector<agent::StateRef> out;
                for (const agent::StateKind kind : kinds)
                    if (files.read(vm, kind).changed) out.push_back({.vm = vm, .kind = kind});
                return out;
            });
    } catch (const ApiError& error) {
        failure = error.what();  // `changed_states` still tells of them
    }
    if (!failure.empty()) log::error("kept_state_unread", {{"vm", vm}, {"error", failure}});
    tell_states(state, changed);
}

Task<void> follow_process(StatePtr state, DomainPtr domain) {
    const int status = co_await domain->process->wait();
    log::info("domain_process_ended", {{"vm", domain->uuid()}, {"status", status}});
    const bool live = domain->phase == Domain::Phase::live;
    if (domain->monitor) domain->monitor->close();
    if (domain->console) domain->console->close();
    co_await await_tpm(domain);
    co_await tell_last_states(state, domain);
    // While it is built, `create` still reads why it failed and then removes the files itself.
    if (domain->phase != Domain::Phase::building)
        co_await blocking(state->loop,
                          [dir = domain->paths.dir, confinement = state->options.confinement] {
                              remove_domain(dir, *confinement);
                          });
    domain->gone = true;
    domain->running = false;
    const auto known = state->domains.find(domain->descriptor.dom);
    if (known != state->domains.end() && known->second == domain) state->domains.erase(known);
    domain->changed.notify_all();
    domain->agent_moved.notify_all();
    if (live && state->events != nullptr)
        state->events->ended(domain->descriptor.dom, domain->uuid(),
                             domain->end_reason.value_or(agent::HaltReason::crashed));
}

agent::OnHalt policy(const agent::VmSpec& spec, agent::HaltReason reason) {
    switch (reason) {
        case agent::HaltReason::reboot:
            return spec.on_reboot;
        case agent::HaltReason::crashed:
            return spec.on_crash;
        default:
            return spec.on_shutdown;
    }
}

Task<void> after_halt(StatePtr state, DomainPtr domain, agent::HaltReason reason) {
    if (domain->restart_when_off && reason == agent::HaltReason::shutdown)
        reason = agent::HaltReason::reboot;
    domain->restart_when_off = false;
    log::info("guest_halted", {{"vm", domain->uuid()}, {"reason", agent::text(reason)}});
    switch (policy(domain->descriptor.config.spec, reason)) {
        case agent::OnHalt::restart:
            co_await domain->monitor->reset();
            co_await domain->monitor->resume();
            domain->running = true;
            if (state->events != nullptr)
                state->events->rebooted(domain->descriptor.dom, domain->uuid());
            co_return;
        case agent::OnHalt::preserve:
            if (state->events != nullptr)
                state->events->preserved(domain->descriptor.dom, domain->uuid(), reason);
            co_return;
        case agent::OnHalt::destroy:
            domain->end_reason = reason;
            co_await end_process(domain);
    }
}

void on_reset(const StatePtr& state, const DomainPtr& domain, const Json& data) {
    if (!data.value("guest", false)) return;  // ours
    domain->restart_when_off = false;
    domain->agent_open = false;
    domain->agent_moved.notify_all();
    if (state->events != nullptr) state->events->rebooted(domain->descriptor.dom, domain->uuid());
}

void on_shutdown(const StatePtr& state, const DomainPtr& domain, const Json& data) {
    // Otherwise somebody ends QEMU itself, and the end of the process tells the rest.
    if (!data.value("guest", false)) return;
    const std::string reason = data.value("reason", std::string());
    if (reason == "guest-panic") return;  // GUEST_PANICKED came with it
    guest_halted(state, domain,
                 reason == "guest-reset" ? agent::HaltReason::reboot : agent::HaltReason::shutdown);
}

void on_event(const StatePtr& state, const DomainPtr& domain, const std::string& name,
              const Json& data) {
    if (name == "STOP") domain->running = false;
    if (name == "RESUME") domain->running = true;
    if (domain->phase == Domain::Phase::ending) return;
    if (name == "SHUTDOWN") on_shutdown(state, domain, data);
    if (name == "RESET") on_reset(state, domain, data);
    if (name == "GUEST_PANICKED") guest_halted(state, domain, agent::HaltReason::crashed);
    if (name == "DEVICE_DELETED") domain->removed.insert(data.value("device", std::string()));
    if (name == "DEVICE_UNPLUG_GUEST_ERROR")
        domain->refused.insert(data.value("device", std::string()));
    if (name == "BALLOON_CHANGE") {
        domain->balloon_bytes = data.value("actual", std::int64_t{0});
        if (state->events != nullptr)
            state->events->memory_moved(domain->uuid(), info(*domain).memory_bytes);
    }
    if (name == "VSERPORT_CHANGE" && data.value("id", std::string()) == "agent-port") {
        domain->agent_open = data.value("open", false);
        domain->agent_moved.notify_all();
    }
    domain->changed.notify_all();
}

Task<agent::GuestFacts> collect(DomainPtr domain) {
    agent::GuestFacts now;
    now.uuid = domain->uuid();
    if (domain->agent_open) {
        auto answer =
            co_await ask_agent(domain->loop, domain->paths.agent(), domain->descriptor.config.nics);
        // One that is busy is not gone: what it said last still stands.
        now = answer ? std::move(*answer) : domain->facts;
        now.uuid = domain->uuid();
    }
    const BalloonStats memory = co_await domain->monitor->balloon_stats();
    now.memory_total_bytes = memory.total_bytes;
    now.memory_free_bytes = memory.free_bytes;
    co_return now;
}

Task<void> poll_guest(StatePtr state, DomainPtr domain) {
    bool was_open = domain->agent_open;
    for (int polls = 0; !domain->gone; ++polls) {
        if (domain->running) {
            agent::GuestFacts now = co_await collect(domain);
            const bool tell = worth_telling(domain->facts, now);
            domain->facts = std::move(now);
            if (tell && state->events != nullptr) state->events->guest_changed(domain->facts);
            co_await tell_moved_states(state, domain);
        }
        if (domain->gone) co_return;
        co_await domain->agent_moved.wait_for(polls < quick_polls ? quick_pause : slow_pause);
        if (domain->agent_open != was_open) polls = 0;
        was_open = domain->agent_open;
    }
}

Task<void> poll_until_end(StatePtr state, DomainPtr domain) {
    domain->facts.uuid = domain->uuid();
    while (!domain->gone) {
        try {
            co_await poll_guest(state, domain);
        } catch (const ApiError& error) {
            log::debug("guest_poll_failed", {{"vm", domain->uuid()}, {"error", error.what()}});
        }
        if (!domain->gone) co_await domain->agent_moved.wait_for(slow_pause);
    }
}

Task<void> tell_guest(DomainPtr domain, GuestRequest what) {
    if (domain->agent_open) {
        const bool told = co_await tell_agent(domain->loop, domain->paths.agent(), what);
        if (told || domain->gone) co_return;
    }
    // There is a button for off only: a reboot is off and on again.
    if (what == GuestRequest::reboot) domain->restart_when_off = true;
    co_await domain->monitor->power_button();
}

}  // namespace

void start_job(StatePtr state, std::string name, Task<void> body) {
    if (state->closed) return;
    const std::uint64_t id = ++state->last_job;
    state->jobs.emplace(id,
                        spawn(state->loop, std::move(name), run_job(state, id, std::move(body))));
}

void watch_process(StatePtr state, DomainPtr domain) {
    start_job(state, "follow process", follow_process(state, domain));
}

void watch_events(StatePtr state, DomainPtr domain) {
    domain->monitor->on_event([state = std::weak_ptr(state), domain = std::weak_ptr(domain)](
                                  const std::string& name, const Json& data) {
        const auto owner = state.lock();
        const auto target = domain.lock();
        if (owner && target && !owner->closed) on_event(owner, target, name, data);
    });
}

void watch_guest(StatePtr state, DomainPtr domain) {
    start_job(state, "poll guest", poll_until_end(state, domain));
}

void guest_halted(StatePtr state, DomainPtr domain, agent::HaltReason reason) {
    domain->running = false;
    start_job(state, "after halt", after_halt(state, domain, reason));
}

void ask_to_halt(StatePtr state, DomainPtr domain, GuestRequest what) {
    start_job(state, "ask guest", tell_guest(domain, what));
}

}  // namespace basalt::hv::qemu
