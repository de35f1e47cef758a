#include "hypervisor/sim/sim_host.hpp"

#include <sys/socket.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::hv {

namespace {

constexpr Duration verb_duration = 5ms;
constexpr std::int64_t ns_per_second = 1'000'000'000;

// Never blocks the loop: a client that does not read loses text.
void send_text(const UniqueFd& client, const std::string& text) {
    ::send(client.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

agent::OnHalt policy(const agent::VmSpec& spec, agent::HaltReason reason) {
    if (reason == agent::HaltReason::reboot) return spec.on_reboot;
    return reason == agent::HaltReason::crashed ? spec.on_crash : spec.on_shutdown;
}

std::int64_t target_of(const agent::VmSpec& spec) {
    return spec.memory_target_bytes > 0 ? spec.memory_target_bytes : spec.memory_bytes;
}

}  // namespace

SimDomain* SimHost::State::find(const std::string& uuid) {
    for (auto& [dom, domain] : domains)
        if (domain.config.spec.uuid == uuid) return &domain;
    return nullptr;
}

SimDomain& SimHost::State::at(DomId dom) {
    const auto found = domains.find(dom);
    if (found == domains.end()) throw err::internal_error("no domain " + std::to_string(dom));
    return found->second;
}

const SimScript& SimHost::State::script(const SimDomain& domain) const {
    const auto own = host->scripts.find(domain.config.spec.uuid);
    return own == host->scripts.end() ? host->script : own->second;
}

void SimHost::State::trip(const std::string& name) {
    const auto fault = faults.find(name);
    if (fault == faults.end()) return;
    const ApiError error = fault->second.error;
    if (--fault->second.times <= 0) faults.erase(fault);
    throw error;
}

Task<void> SimHost::State::verb(std::string name) {
    const auto known = host->verb_durations.find(name);
    co_await sleep_for(loop, known == host->verb_durations.end() ? verb_duration : known->second);
    trip(name);
}

DomId SimHost::State::add(DomainConfig config, bool up, Duration uptime) {
    const DomId dom = ++last_dom;
    SimDomain& domain = domains[dom];
    domain.dom = dom;
    domain.config = std::move(config);
    domain.memory_bytes = domain.config.spec.memory_bytes;
    domain.up = up;
    domain.ran_before = uptime;
    domain.started_at = loop.wall_ns() / ns_per_second;
    return dom;
}

Duration SimHost::State::uptime(const SimDomain& domain) const {
    return domain.ran_before + (domain.running ? loop.now() - domain.resumed_at : Duration{});
}

void SimHost::State::set_running(SimDomain& domain, bool running) {
    if (domain.running == running) return;
    if (running) {
        domain.resumed_at = loop.now();
        domain.running = true;
        schedule(domain);
        balloon(domain);
    } else {
        domain.ran_before = uptime(domain);
        domain.running = false;
        loop.cancel(domain.timer);
        loop.cancel(domain.request_timer);
        loop.cancel(domain.balloon_timer);
    }
}

void SimHost::State::balloon(SimDomain& domain) {
    loop.cancel(domain.balloon_timer);
    const SimScript& how = script(domain);
    if (!how.balloons || !domain.up || !domain.running ||
        domain.memory_bytes == target_of(domain.config.spec))
        return;
    domain.balloon_timer =
        loop.at(loop.now() + how.balloons_after, [weak = weak_from_this(), dom = domain.dom] {
            const auto self = weak.lock();
            if (!self || !self->domains.contains(dom)) return;
            SimDomain& moved = self->domains.at(dom);
            moved.memory_bytes = target_of(moved.config.spec);
            if (self->events != nullptr)
                self->events->memory_moved(moved.config.spec.uuid, moved.memory_bytes);
        });
}

void SimHost::State::write_state(const std::string& uuid, agent::StateKind kind,
                                 std::string bytes) {
    kept[{uuid, kind}].bytes = std::move(bytes);
    if (events != nullptr) events->state_changed({.vm = uuid, .kind = kind});
}

void SimHost::State::boot(SimDomain& domain) {
    loop.cancel(domain.timer);
    loop.cancel(domain.request_timer);
    domain.up = false;
    domain.ran_before = {};
    domain.resumed_at = loop.now();
    domain.running = true;
    schedule(domain);
}

void SimHost::State::schedule(SimDomain& domain) {
    const SimScript& how = script(domain);
    const Duration left = how.boots_after - uptime(domain);
    const auto weak = weak_from_this();
    if (!domain.up) {
        domain.timer = loop.at(loop.now() + std::max(left, Duration{}), [weak, dom = domain.dom] {
            if (const auto self = weak.lock()) self->came_up(dom);
        });
    } else if (how.crashes_after) {
        const Duration rest = left + *how.crashes_after;
        domain.timer = loop.at(loop.now() + std::max(rest, Duration{}), [weak, dom = domain.dom] {
            if (const auto self = weak.lock()) self->halted(dom, agent::HaltReason::crashed);
        });
    }
}

void SimHost::State::came_up(DomId dom) {
    SimDomain& domain = domains.at(dom);
    domain.up = true;
    say(domain, "guest ready\n");
    if (const agent::VmSpec& spec = domain.config.spec; spec.tpm)
        write_state(spec.uuid, agent::StateKind::tpm,
                    kept[{spec.uuid, agent::StateKind::tpm}].bytes + "boot ");
    tell_facts(domain);
    balloon(domain);
    schedule(domain);
}

void SimHost::State::say(SimDomain& domain, const std::string& text) {
    domain.console += text;
    for (const UniqueFd& client : domain.clients)
        send_text(client, text);
}

void SimHost::State::request(SimDomain& domain, GuestRequest what) {
    const SimScript& how = script(domain);
    if (!how.answers_requests || !domain.up || !domain.running) return;
    loop.cancel(domain.request_timer);
    domain.request_timer = loop.at(
        loop.now() + how.shuts_down_after, [weak = weak_from_this(), dom = domain.dom, what] {
            if (const auto self = weak.lock())
                self->halted(dom, what == GuestRequest::reboot ? agent::HaltReason::reboot
                                                               : agent::HaltReason::shutdown);
        });
}

void SimHost::State::halted(DomId dom, agent::HaltReason reason) {
    const auto found = domains.find(dom);
    if (found == domains.end()) return;
    SimDomain& domain = found->second;
    const std::string uuid = domain.config.spec.uuid;
    switch (policy(domain.config.spec, reason)) {
        case agent::OnHalt::restart:
            boot(domain);
            if (events != nullptr) events->rebooted(dom, uuid);
            return;
        case agent::OnHalt::preserve:
            set_running(domain, false);
            if (events != nullptr) events->preserved(dom, uuid, reason);
            return;
        case agent::OnHalt::destroy:
            remove(dom);
            tell_ended(dom, uuid, reason);
    }
}

void SimHost::State::remove(DomId dom) {
    const auto found = domains.find(dom);
    if (found == domains.end()) return;
    loop.cancel(found->second.timer);
    loop.cancel(found->second.request_timer);
    loop.cancel(found->second.balloon_timer);
    domains.erase(found);
}

void SimHost::State::tell_ended(DomId dom, const std::string& uuid, agent::HaltReason reason) {
    if (events != nullptr)
        events->ended(dom, uuid, reason);
    else
        unheard.emplace_back(dom, uuid);
}

void SimHost::State::tell_facts(const SimDomain& domain) {
    if (events == nullptr || !script(domain).has_agent) return;
    const agent::VmSpec& spec = domain.config.spec;
    agent::GuestFacts facts;
    facts.uuid = spec.uuid;
    facts.agent = true;
    facts.agent_version = "1.0";
    facts.os = {{"name", "Simulated GNU/Linux 1"},
                {"distro", "simulated"},
                {"major", "1"},
                {"minor", "0"},
                {"uname", "6.12.0-sim"}};
    facts.hostname = "guest-" + std::to_string(domain.dom);
    for (const NicAttachment& nic : domain.config.nics) {
        const std::string device = std::to_string(nic.spec.device);
        const std::string address =
            "10.0." + std::to_string(domain.dom % 250) + "." + std::to_string(nic.spec.device + 1);
        facts.networks[device + "/ip"] = address;
        facts.networks[device + "/ipv4/0"] = address;
    }
    facts.features = {{"feature-poweroff", "1"}, {"feature-reboot", "1"}, {"feature-suspend", "1"}};
    if (script(domain).balloons) {
        facts.memory_total_bytes = spec.memory_bytes;
        facts.memory_free_bytes = spec.memory_bytes / 2;
    }
    events->guest_changed(std::move(facts));
}

agent::DomainInfo info(const SimDomain& domain) {
    agent::DomainInfo out;
    out.uuid = domain.config.spec.uuid;
    out.domid = domain.dom;
    out.power = domain.running ? agent::DomainPower::running : agent::DomainPower::paused;
    out.started_at = domain.started_at;
    out.memory_bytes = domain.memory_bytes;
    out.memory_target_bytes = target_of(domain.config.spec);
    out.vcpus = domain.config.spec.vcpus;
    out.spec = domain.config.spec;
    out.spec->disks.clear();
    out.spec->nics.clear();
    out.spec->usbs.clear();
    for (const DiskAttachment& disk : domain.config.disks) {
        out.plugged_disks.push_back(disk.spec.device);
        out.spec->disks.push_back(disk.spec);
    }
    for (const NicAttachment& nic : domain.config.nics) {
        out.plugged_nics.push_back(nic.spec.device);
        out.spec->nics.push_back(nic.spec);
    }
    for (const UsbAttachment& usb : domain.config.usbs) {
        out.plugged_usbs.push_back(usb.spec.vusb);
        out.spec->usbs.push_back(usb.spec);
    }
    return out;
}

SimHost::SimHost(Loop& loop) : state_(std::make_shared<State>(loop, *this)) {}

SimHost::~SimHost() {
    state_->domains.clear();
}

void SimHost::fail(const std::string& verb, ApiError error, int times) {
    state_->faults.insert_or_assign(verb, State::Fault{std::move(error), times});
}

void SimHost::lose_power() {
    while (!state_->domains.empty())
        state_->remove(state_->domains.begin()->first);
    state_->events = nullptr;
    ++state_->generation;
}

void SimHost::power_off(const std::string& uuid) {
    if (const SimDomain* domain = state_->find(uuid))
        state_->halted(domain->dom, agent::HaltReason::shutdown);
}

void SimHost::reboot(const std::string& uuid) {
    if (const SimDomain* domain = state_->find(uuid))
        state_->halted(domain->dom, agent::HaltReason::reboot);
}

void SimHost::crash(const std::string& uuid) {
    if (const SimDomain* domain = state_->find(uuid))
        state_->halted(domain->dom, agent::HaltReason::crashed);
}

void SimHost::kill(const std::string& uuid) {
    const SimDomain* domain = state_->find(uuid);
    if (domain == nullptr) return;
    const DomId dom = domain->dom;
    state_->remove(dom);
    state_->tell_ended(dom, uuid, agent::HaltReason::crashed);
}

void SimHost::say(const std::string& uuid, const std::string& text) {
    if (SimDomain* domain = state_->find(uuid)) state_->say(*domain, text);
}

void SimHost::write_state(const std::string& uuid, agent::StateKind kind,
                          const std::string& bytes) {
    state_->write_state(uuid, kind, bytes);
}

std::string SimHost::kept(const std::string& uuid, agent::StateKind kind) const {
    const auto found = state_->kept.find({uuid, kind});
    return found == state_->kept.end() ? std::string() : found->second.bytes;
}

bool SimHost::up(const std::string& uuid) const {
    const SimDomain* domain = state_->find(uuid);
    return domain != nullptr && domain->up;
}

Duration SimHost::uptime(const std::string& uuid) const {
    const SimDomain* domain = state_->find(uuid);
    return domain == nullptr ? Duration{} : state_->uptime(*domain);
}

std::optional<DomainConfig> SimHost::config(const std::string& uuid) const {
    const SimDomain* domain = state_->find(uuid);
    if (domain == nullptr) return std::nullopt;
    return domain->config;
}

std::int64_t SimHost::disk_bytes(const std::string& uuid, const std::string& device) const {
    const SimDomain* domain = state_->find(uuid);
    if (domain == nullptr) return 0;
    const auto known = domain->disk_bytes.find(device);
    return known == domain->disk_bytes.end() ? 0 : known->second;
}

std::vector<std::string> SimHost::signals(const std::string& uuid) const {
    const SimDomain* domain = state_->find(uuid);
    return domain == nullptr ? std::vector<std::string>{} : domain->signals;
}

const std::vector<std::string>& SimHost::purged() const {
    return state_->purged;
}

std::size_t SimHost::domain_count() const {
    return state_->domains.size();
}

std::vector<std::string> SimHost::domain_vms() const {
    std::vector<std::string> out;
    for (const auto& [dom, domain] : state_->domains)
        out.push_back(domain.config.spec.uuid);
    return out;
}

}  // namespace basalt::hv
