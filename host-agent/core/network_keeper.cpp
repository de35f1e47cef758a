#include "host-agent/core/network_keeper.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.hpp"

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

const std::string network_room = "network";
const std::string want_key = "want";
const std::string management_key = "management";

constexpr Duration retry_pause = std::chrono::seconds(5);

bool is_ipv6(const std::string& text) {
    return text.contains(':');
}

const BridgeWant* find_bridge(const NetworkWant& want, const std::string& name) {
    const auto found = std::ranges::find(want.bridges, name, &BridgeWant::name);
    return found == want.bridges.end() ? nullptr : &*found;
}

/// The card or bond below a bridge, or below the one that a VLAN stands on.
std::string device_below(const NetworkWant& want, const BridgeWant& bridge) {
    const BridgeWant* parent = find_bridge(want, bridge.vlan_parent);
    return parent == nullptr ? bridge.uplink : parent->uplink;
}

}  // namespace

std::optional<NetworkWant> NetworkKeeper::remembered() const {
    const auto text = records_.get(network_room, want_key);
    if (!text) return std::nullopt;
    return Json::parse(*text).get<NetworkWant>();
}

std::string NetworkKeeper::management() const {
    if (pending_ && pending_->management) return *pending_->management;
    return records_.get(network_room, management_key).value_or("");
}

// A card's address goes to the bond that it joins, and comes back: management goes with it.
std::optional<std::string> NetworkKeeper::successor(const NetworkWant& want) const {
    const std::string bridge = management();
    const auto before = remembered();
    if (bridge.empty() || !before || find_bridge(want, bridge) != nullptr) return std::nullopt;
    const BridgeWant* old = find_bridge(*before, bridge);
    if (old == nullptr) return std::nullopt;
    for (const BridgeWant& other : want.bridges)
        if (other.dhcp == old->dhcp && other.address == old->address &&
            (other.dhcp || !other.address.empty()))
            return other.name;
    return std::nullopt;
}

Task<void> NetworkKeeper::apply_remembered() {
    const auto want = remembered();
    if (!want) co_return;
    try {
        co_await network_.apply(*want);
    } catch (const ApiError& error) {
        log::error("network_not_applied", {{"error", error.what()}});
    }
}

Task<NetworkHave> NetworkKeeper::apply(NetworkApplyArgs args) {
    NetworkHave have = co_await network_.apply(args.want);
    drop_pending();
    if (!args.management) args.management = successor(args.want);
    if (args.confirm.empty()) {
        co_await remember(std::move(args.want), std::move(args.management));
        co_return have;
    }
    const Duration limit = std::chrono::seconds(args.confirm_seconds);
    pending_ = Pending{args.confirm, std::move(args.want), std::move(args.management), nullptr};
    pending_->timer = spawn(loop_, "network not confirmed", take_back(args.confirm, limit));
    co_return have;
}

Task<bool> NetworkKeeper::keep(std::string confirm) {
    if (confirm.empty()) co_return false;
    if (!pending_ || pending_->confirm != confirm) co_return confirm == kept_;
    Pending stands = std::move(*pending_);
    pending_.reset();
    stands.timer->cancel();
    co_await remember(std::move(stands.want), std::move(stands.management));
    kept_ = std::move(confirm);
    log::info("network_kept", {{"confirm", kept_}});
    co_return true;
}

Task<void> NetworkKeeper::remember(NetworkWant want, std::optional<std::string> management) {
    std::vector<Records::Change> changes;
    changes.push_back({network_room, want_key, Json(want).dump()});
    if (management) changes.push_back({network_room, management_key, *management});
    co_await records_.commit(std::move(changes));
}

// Whoever waits for this to succeed may be locked out: it is tried until it does.
Task<void> NetworkKeeper::take_back(std::string confirm, Duration after) {
    co_await sleep_for(loop_, after);
    if (!pending_ || pending_->confirm != confirm) co_return;
    pending_.reset();
    const auto want = remembered();
    log::warn("network_taken_back", {{"confirm", confirm}, {"known", want.has_value()}});
    while (want && !pending_) {
        bool failed = false;
        try {
            co_await network_.apply(*want);
        } catch (const ApiError& error) {
            log::error("network_not_taken_back", {{"error", error.what()}});
            failed = true;
        }
        if (!failed) co_return;
        co_await sleep_for(loop_, retry_pause);
    }
}

void NetworkKeeper::drop_pending() {
    if (pending_ && pending_->timer) pending_->timer->cancel();
    pending_.reset();
}

Task<void> NetworkKeeper::describe_management(HostFacts& facts) {
    const std::string bridge = management();
    const auto want = pending_ ? std::optional(pending_->want) : remembered();
    const BridgeWant* wanted = want ? find_bridge(*want, bridge) : nullptr;
    if (wanted == nullptr) co_return;
    const NetworkHave have = co_await network_.have();
    const auto found = std::ranges::find(have.bridges, bridge, &BridgeHave::name);
    if (found == have.bridges.end()) co_return;
    facts.management_bridge = bridge;
    facts.management_device = device_below(*want, *wanted);
    facts.address = found->address;
    const auto gateway = std::ranges::find_if_not(found->gateways, is_ipv6);
    facts.gateway = gateway == found->gateways.end() ? "" : *gateway;
    if (!wanted->dhcp) facts.dns = wanted->dns;
}

Task<void> NetworkKeeper::stop() {
    if (!pending_) co_return;
    const auto timer = pending_->timer;
    drop_pending();
    co_await timer->wait();
}

}  // namespace basalt::agent
