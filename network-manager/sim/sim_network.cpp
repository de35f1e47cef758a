#include "network-manager/sim/sim_network.hpp"

#include <algorithm>

#include "idl/errors.hpp"

namespace basalt::nm::sim {

SimNetwork::SimNetwork(Loop& loop, std::vector<agent::NicFacts> nics, Duration delay)
    : loop_(loop), nics_(std::move(nics)), delay_(delay) {}

void SimNetwork::fail_next(const std::string& verb, ApiError error) {
    faults_.insert_or_assign(verb, std::move(error));
}

void SimNetwork::reboot() {
    state_ = {};
    managers_.clear();
    ports_.clear();
}

Task<agent::NetworkHave> SimNetwork::have() {
    co_await begin("have");
    co_return report();
}

Task<agent::NetworkHave> SimNetwork::apply(agent::NetworkWant want) {
    co_await begin("apply");
    for (const Action& action : plan(desired(want, state_), state_))
        enact(state_, action);
    managers_ = want.managers;
    std::erase_if(ports_, [&](const auto& port) { return !state_.bridges.contains(port.second); });
    co_return report();
}

Task<void> SimNetwork::add_port(PortWant port) {
    co_await begin("add_port");
    if (!state_.bridges.contains(port.bridge)) throw err::bridge_not_available(port.bridge);
    ports_[port.name] = port.bridge;
}

Task<void> SimNetwork::remove_port(std::string name) {
    co_await begin("remove_port");
    ports_.erase(name);
}

Task<std::vector<std::string>> SimNetwork::ports() {
    co_await begin("ports");
    std::vector<std::string> names;
    for (const auto& [name, bridge] : ports_)
        names.push_back(name);
    co_return names;
}

Task<std::vector<agent::NicFacts>> SimNetwork::interfaces() {
    co_await begin("interfaces");
    co_return nics_;
}

Task<void> SimNetwork::begin(std::string verb) {
    co_await sleep_for(loop_, delay_);
    if (auto fault = faults_.extract(verb)) throw ApiError(std::move(fault.mapped()));
}

agent::NetworkHave SimNetwork::report() const {
    agent::NetworkHave have;
    for (const auto& [name, bridge] : state_.bridges) {
        agent::BridgeHave one{.name = name, .vlan_parent = bridge.parent, .vlan_tag = bridge.tag};
        if (!bridge.uplink.empty()) one.ports.push_back(bridge.uplink);
        for (const auto& [port, on] : ports_)
            if (on == name) one.ports.push_back(port);
        std::ranges::sort(one.ports);
        report_addresses(one, state_);
        have.bridges.push_back(std::move(one));
    }
    return have;
}

}  // namespace basalt::nm::sim
