#include "network-manager/linux/bridge_network.hpp"

#include "base/log.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "network-manager/linux/bridges.hpp"
#include "network-manager/linux/links.hpp"
#include "network-manager/linux/steps.hpp"

namespace basalt::nm {

using steps::translated;

namespace {

constexpr auto queue_key = "network";

/// Wants of two states differ from what is there: the plan's steps, then what they stand on.
void move(const State& from, const State& to) {
    const std::vector<Action> actions = plan(to, from);
    for (const Action& action : actions) {
        log::info("network.step", {{"step", describe(action)}});
        bridges::enact(action);
    }
    bridges::wire(to.bridges);
    steps::enact_addresses(actions);
}

}  // namespace

BridgeNetwork::BridgeNetwork(RealLoop& loop, BridgeConfig config)
    : loop_(loop), config_(std::move(config)), queue_(loop) {}

Task<agent::NetworkHave> BridgeNetwork::have() {
    co_return co_await blocking(
        loop_, translated([] { return bridges::report(steps::read_links(bridges::read())); }));
}

Task<agent::NetworkHave> BridgeNetwork::apply(agent::NetworkWant want) {
    // The kernel's own bonds and snooping are not used, and nobody else manages its bridges.
    if (!want.bonds.empty() || want.igmp_snooping || !want.managers.empty())
        throw err::openvswitch_not_active();
    want = steps::canonical(std::move(want));
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    const State before = co_await state();
    State wanted = desired(want, before);
    wanted = co_await blocking(loop_, translated([wanted]() mutable {
                                   steps::pin_macs(wanted);
                                   return wanted;
                               }));
    co_await with_undo([this, &wanted, &before, &want](Undo& undo) -> Task<void> {
        undo.push("restore network", [this, before] { return restore(before); });
        co_await reach(wanted, before);
        co_await blocking(loop_, translated([want] { steps::set_offloads(want); }));
    });
    co_await blocking(loop_, translated([path = config_.resolv_conf, want] {
                          steps::write_resolv_conf(path, want);
                      }));
    co_return co_await have();
}

Task<State> BridgeNetwork::state() {
    co_return co_await blocking(loop_,
                                translated([] { return steps::read_links(bridges::read()); }));
}

Task<void> BridgeNetwork::reach(State wanted, State have) {
    co_await blocking(loop_, translated([wanted, have] { move(have, wanted); }));
}

Task<void> BridgeNetwork::restore(State before) {
    const State now = co_await state();
    co_await reach(std::move(before), now);
}

Task<void> BridgeNetwork::add_port(PortWant port) {
    // As on other hosts of this API: who may send what is ruled by flows, which a bridge has not.
    if (port.nic.locked || !port.nic.trunks.empty()) throw err::openvswitch_not_active();
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    const bool there = co_await blocking(
        loop_, translated([name = port.bridge] { return bridges::read().contains(name); }));
    if (!there) throw err::bridge_not_available(port.bridge);
    const bool was_there = co_await blocking(
        loop_, translated([name = port.name] { return links::find(name).has_value(); }));
    const steps::Tap tap{
        .name = port.name, .vif = port.nic.vif, .mtu = port.mtu, .owner = config_.port_owner};
    co_await with_undo([this, &tap, &port, was_there](Undo& undo) -> Task<void> {
        if (!was_there) undo.push("remove port", [this, name = tap.name] { return unplug(name); });
        co_await blocking(loop_, translated([tap, bridge = port.bridge,
                                             disabled = port.nic.disabled, made = port.made] {
                              made ? steps::mark_port(tap) : steps::make_tap(tap);
                              links::add_to_bridge(tap.name, bridge);
                              // A disabled one carries nothing, and its guest sees no link.
                              links::set_up(tap.name, !disabled);
                          }));
    });
}

Task<void> BridgeNetwork::remove_port(std::string name) {
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    co_await unplug(std::move(name));
}

Task<void> BridgeNetwork::unplug(std::string name) {
    co_await blocking(loop_, translated([name] {
                          const auto link = links::find(name);
                          if (link && link->kind == "tun") links::remove(name);
                      }));
}

Task<std::vector<std::string>> BridgeNetwork::ports() {
    co_return co_await blocking(loop_, translated([] { return steps::taps(); }));
}

Task<std::vector<agent::NicFacts>> BridgeNetwork::interfaces() {
    co_return co_await blocking(loop_, translated([] { return links::physical(); }));
}

}  // namespace basalt::nm
