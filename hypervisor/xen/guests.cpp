#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/xen/calls.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/guest_facts.hpp"
#include "hypervisor/xen/store.hpp"

namespace basalt::hv::xen {

namespace {

// A guest may write as often as it likes; it is looked at so often.
constexpr Duration shortest_pause = 1s;
constexpr Duration calm_pause = 15s;
constexpr Duration restless_for = 60s;

std::vector<std::string> watched_paths(DomId dom) {
    std::vector<std::string> out;
    for (const std::string& folder : agent_folders())
        out.push_back(path_of_domain(dom) + "/" + folder);
    return out;
}

bool is_live(const XenHypervisor::State& state, const DomainPtr& domain) {
    const auto found = state.domains.find(domain->descriptor.dom);
    return found != state.domains.end() && found->second == domain && !domain->ending;
}

void take_memory(const XenHypervisor::State& state, Domain& domain, std::int64_t bytes) {
    if (bytes == domain.memory_bytes) return;
    const std::int64_t before = info(domain).memory_bytes;
    domain.memory_bytes = bytes;
    const std::int64_t now = info(domain).memory_bytes;
    if (now != before && state.events != nullptr) state.events->memory_moved(domain.uuid(), now);
}

void take_facts(const XenHypervisor::State& state, Domain& domain, const Nodes& nodes) {
    std::set<std::int64_t> nics;
    for (const NicAttachment& nic : domain.descriptor.config.nics)
        nics.insert(nic.spec.device);
    agent::GuestFacts now = facts_of(domain.uuid(), nodes, nics);
    domain.facts.uuid = domain.uuid();
    const bool tell = qemu::worth_telling(domain.facts, now);
    domain.facts = std::move(now);
    if (tell && state.events != nullptr) state.events->guest_changed(domain.facts);
}

}  // namespace

Task<void> follow_guest(StatePtr state, DomId dom) {
    expect_motion(*state);
    state->written.insert(dom);
    if (!state->guests) co_return;
    try {
        co_await blocking(state->loop, [guests = state->guests.get(), dom] {
            for (const std::string& path : watched_paths(dom))
                guests->add(path);
        });
    } catch (const ApiError& error) {
        // It runs all the same; what it says is heard when it is adopted next.
        log::error("guest_not_followed", {{"dom", dom}, {"error", error.what()}});
    }
}

Task<void> unfollow_guest(StatePtr state, DomId dom) {
    state->written.erase(dom);
    if (!state->guests) co_return;
    co_await blocking(state->loop, [guests = state->guests.get(), dom] {
        for (const std::string& path : watched_paths(dom))
            guests->remove(path);
    });
}

void expect_motion(XenHypervisor::State& state) {
    state.restless_until = state.loop.now() + restless_for;
    state.stirred.notify_all();
}

namespace {

Task<void> survey_guests(StatePtr state) {
    const auto known = state->domains;  // others come and go meanwhile
    const auto written = std::exchange(state->written, {});
    const auto memory = co_await blocking(state->loop, [] { return memory_of_domains(); });
    for (const auto& [dom, domain] : known) {
        if (!is_live(*state, domain)) continue;
        if (const auto found = memory.find(dom); found != memory.end())
            take_memory(*state, *domain, found->second);
        if (!written.contains(dom)) continue;
        const Nodes nodes = co_await blocking(
            state->loop, [number = dom] { return read_guest_nodes(number, agent_folders()); });
        if (is_live(*state, domain)) take_facts(*state, *domain, nodes);
    }
}

}  // namespace

Task<void> watch_writes(StatePtr state, std::shared_ptr<StoreWatch> guests) {
    for (;;) {
        const std::set<std::string> paths = co_await guests->next();
        for (const std::string& path : paths)
            if (const auto dom = domain_of_path(path); dom && state->domains.contains(*dom))
                state->written.insert(*dom);
        if (!state->written.empty()) state->stirred.notify_all();
        co_await sleep_for(state->loop, shortest_pause);
    }
}

Task<void> watch_guests(StatePtr state) {
    for (;;) {
        try {
            co_await survey_guests(state);
        } catch (const ApiError& error) {
            log::warn("guests_not_surveyed", {{"error", error.what()}});
        }
        co_await sleep_for(state->loop, shortest_pause);
        if (!state->written.empty() || state->loop.now() < state->restless_until) continue;
        co_await state->stirred.wait_for(calm_pause);
    }
}

}  // namespace basalt::hv::xen
