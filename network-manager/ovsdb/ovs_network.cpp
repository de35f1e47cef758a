#include "network-manager/ovsdb/ovs_network.hpp"

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <filesystem>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/subprocess.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "network-manager/linux/links.hpp"
#include "network-manager/linux/steps.hpp"
#include "network-manager/ovsdb/locks.hpp"

namespace basalt::nm::ovsdb {

using steps::fail;
using steps::translated;

namespace {

constexpr auto queue_key = "network";
constexpr Millis repair_delay{100};
constexpr Millis repair_retry{2000};
constexpr Duration unplug_limit = 2s;

Json monitored() {
    return {{"Open_vSwitch", {{"columns", {"cur_cfg"}}}},
            {"Interface", {{"columns", {"name", "ifindex"}}}}};
}

void bring_up(const std::map<std::string, Bridge>& bridges, bool user_space) {
    const auto up = [&](const std::string& name) {
        const auto link = links::find(name);
        if (!link) return log::warn("network.no_link", {{"name", name}});
        if (user_space) links::set_offloads_off(name);
        if (!link->up) links::set_up(name, true);
    };
    for (const auto& [name, bridge] : bridges) {
        if (!bridge.uplink.empty() && bridge.bond.members.empty()) up(bridge.uplink);
        for (const std::string& member : bridge.bond.members)
            up(member);
        up(name);
    }
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
Command rules_command(const std::filesystem::path& socket) {
    Command command;
    command.argv = {
        "ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", "unix:" + socket.string(), "-"};
    return command;
}

bool all_there(const std::map<std::string, Bridge>& bridges) {
    const std::vector<links::Link> found = links::list();
    return std::ranges::all_of(bridges, [&](const auto& bridge) {
        return std::ranges::contains(found, bridge.first, &links::Link::name);
    });
}

}  // namespace

OvsNetwork::OvsNetwork(RealLoop& loop, OvsConfig config)
    : loop_(loop),
      config_(std::move(config)),
      queue_(loop),
      session_(
          loop,
          [&loop, path = config_.database]() -> Task<std::unique_ptr<Stream>> {
              return [](RealLoop& l, std::string p) -> Task<std::unique_ptr<Stream>> {
                  co_return co_await connect_unix(l, std::move(p));
              }(loop, path);
          },
          monitored(), [this](const Json& tables) { on_change(tables); }),
      config_changed_(loop),
      repair_(loop) {}

Task<void> OvsNetwork::run() {
    const auto repairs = spawn(loop_, "network repair", repair_loop());
    std::exception_ptr ended;
    try {
        co_await session_.run();
    } catch (const boost::system::system_error&) {
        ended = std::current_exception();
    }
    co_await asio::this_coro::reset_cancellation_state();
    repairs->cancel();
    co_await shielded(repairs->wait());
    if (ended) std::rethrow_exception(ended);
}

Task<agent::NetworkHave> OvsNetwork::have() {
    const Snapshot snapshot = co_await read();
    const State state = co_await state_of(snapshot);
    co_return report(snapshot, state);
}

Task<agent::NetworkHave> OvsNetwork::apply(agent::NetworkWant want) {
    want = steps::canonical(std::move(want));
    steps::check_offloads(want, config_.datapath == "netdev");
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    co_await realise(want);
    last_want_ = std::move(want);
    co_return co_await have();
}

Task<void> OvsNetwork::realise(agent::NetworkWant want) {
    const Snapshot snapshot = co_await read();
    const State before = co_await state_of(snapshot);
    State wanted = desired(want, before);
    wanted = co_await blocking(loop_, translated([wanted]() mutable {
                                   steps::pin_macs(wanted);
                                   return wanted;
                               }));
    co_await with_undo([this, &wanted, &before, &want](Undo& undo) -> Task<void> {
        undo.push("restore network", [this, before] { return restore(before); });
        co_await reach(wanted, before);
        co_await blocking(loop_, translated([want] { steps::set_offloads(want); }));
        co_await set_managers(want.managers);
    });
    co_await blocking(loop_, translated([path = config_.resolv_conf, want] {
                          steps::write_resolv_conf(path, want);
                      }));
}

Task<void> OvsNetwork::reach(State wanted, State have) {
    const std::vector<Action> actions = plan(wanted, have);
    for (const Action& action : actions)
        log::info("network.step", {{"step", describe(action)}});
    const Snapshot snapshot = co_await read();
    const bool there =
        co_await blocking(loop_, translated([wanted] { return all_there(wanted.bridges); }));
    co_await commit(bridge_operations(actions, snapshot, config_.datapath), !there);
    co_await prepare_links(wanted.bridges);
    co_await blocking(loop_, translated([actions] { steps::enact_addresses(actions); }));
}

// One transaction, and the last that `realise` does: what throws has changed nothing.
Task<void> OvsNetwork::set_managers(std::vector<std::string> wanted) {
    const Json rows = co_await session_.transact(read_managers_operations(), config_.limit);
    Json operations = manager_operations(wanted, parse_managers(rows), config_.manager_keys);
    if (!operations.empty()) co_await session_.transact(std::move(operations), config_.limit);
}

Task<void> OvsNetwork::restore(State before) {
    const Snapshot snapshot = co_await read();
    const State now = co_await state_of(snapshot);
    const std::vector<Action> actions = plan(before, now);
    Json operations = bridge_operations(actions, snapshot, config_.datapath);
    // vswitchd may be the one that failed: it does the rest when it is back.
    if (!operations.empty()) co_await session_.transact(std::move(operations), config_.limit);
    co_await blocking(loop_, translated([actions] { steps::enact_addresses(actions); }));
}

Task<void> OvsNetwork::add_port(PortWant port) {
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    const Snapshot snapshot = co_await read();
    const std::optional<Place> place = find_place(snapshot, port.bridge);
    if (!place) throw err::bridge_not_available(port.bridge);
    // A row may speak of an interface that had this name before: the switch would wait for that.
    if (port.made) co_await unplug(port.name);
    const bool was_there = !port.made && co_await blocking(loop_, translated([name = port.name] {
                                                               return links::find(name).has_value();
                                                           }));
    co_await with_undo([this, &port, &place, was_there](Undo& undo) -> Task<void> {
        if (!was_there) undo.push("remove port", [this, name = port.name] { return unplug(name); });
        co_await plug(port, *place, was_there);
    });
}

Task<void> OvsNetwork::plug(PortWant port, Place place, bool was_there) {
    const steps::Tap tap{
        .name = port.name, .vif = port.nic.vif, .mtu = port.mtu, .owner = config_.port_owner};
    co_await blocking(loop_, translated([tap, made = port.made] {
                          made ? steps::mark_port(tap) : steps::make_tap(tap);
                      }));
    const Snapshot snapshot = co_await read();
    Json operations = add_port_operations(port, place, snapshot);
    // One that changes is silent until it has its rules, as a new one is.
    if (was_there && !operations.empty()) {
        co_await blocking(loop_, translated([name = port.name] { links::set_up(name, false); }));
        co_await leave_bridge(port.name, place.bridge);
    }
    co_await commit(std::move(operations));
    const Snapshot after = co_await read();
    const auto row = after.interfaces.find(port.name);
    if (row == after.interfaces.end()) fail("port " + port.name + " vanished");
    if (!row->second.error.empty()) fail(port.name + ": " + row->second.error);
    co_await lock(port.name, was_there);
    // Last: not a frame before its rules. A disabled one stays down, and the guest sees no link.
    if (!port.nic.disabled)
        co_await blocking(loop_, translated([name = port.name] { links::set_up(name, true); }));
}

// Rules go by a port's number, which on the bridge that it leaves may be another's tomorrow.
Task<void> OvsNetwork::leave_bridge(std::string name, std::string next) {
    const Snapshot snapshot = co_await read();
    const PortRow* row = snapshot.port(name);
    const BridgeRow* bridge = row == nullptr ? nullptr : snapshot.bridge_of(*row);
    if (bridge == nullptr || bridge->name == next) co_return;
    co_await change_rules(bridge->name, unlock_rules(name));
}

Task<void> OvsNetwork::lock(std::string name, bool was_there) {
    const Snapshot snapshot = co_await read();
    const PortRow* row = snapshot.port(name);
    const BridgeRow* bridge = row == nullptr ? nullptr : snapshot.bridge_of(*row);
    if (bridge == nullptr) fail("port " + name + " vanished");
    const InterfaceRow& interface = snapshot.interfaces.at(name);
    const auto kept = interface.external_ids.find(lock_key);
    const bool open = kept == interface.external_ids.end();
    if (open && !was_there) co_return;
    const auto lock = open ? std::nullopt : lock_from(kept->second);
    if (!open && (!lock || interface.ofport.value_or(0) <= 0)) fail(name + " cannot be locked");
    co_await change_rules(bridge->name,
                          open ? unlock_rules(name) : lock_rules(name, *interface.ofport, *lock));
}

Task<void> OvsNetwork::change_rules(std::string bridge, std::string rules) {
    // vswitchd has this socket beside the database's.
    const auto folder = std::filesystem::path(config_.database).parent_path();
    const Output output = co_await run_command(loop_, rules_command(folder / (bridge + ".mgmt")),
                                               config_.limit, rules);
    if (output.status != 0) fail("rules of " + bridge + ": " + output.err);
}

Task<void> OvsNetwork::remove_port(std::string name) {
    const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
    co_await unplug(std::move(name));
}

Task<void> OvsNetwork::unplug(std::string name) {
    const Snapshot snapshot = co_await read();
    Json operations = remove_port_operations(name, snapshot);
    if (const PortRow* row = snapshot.port(name)) {
        // Its number may be another port's tomorrow. While vswitchd is away there are no rules.
        const BridgeRow* bridge = snapshot.bridge_of(*row);
        try {
            if (bridge != nullptr) co_await change_rules(bridge->name, unlock_rules(name));
        } catch (const ApiError& error) {
            log::warn("network.unlock", {{"port", name}, {"error", error.what()}});
        }
    }
    if (!operations.empty()) {
        append_bump(operations);
        const Json results = co_await session_.transact(std::move(operations), config_.limit);
        try {
            co_await within(loop_, unplug_limit, wait_for_config(bumped(results)),
                            err::internal_error("network: vswitchd is slow"));
        } catch (const ApiError& error) {
            // The row is gone, so vswitchd will let go of the interface when it looks again.
            log::warn("network.unplug", {{"port", name}, {"error", error.what()}});
        }
    }
    co_await blocking(loop_, translated([name] {
                          const auto link = links::find(name);
                          if (link && link->kind == "tun") links::remove(name);
                      }));
}

Task<std::vector<std::string>> OvsNetwork::ports() {
    const Snapshot snapshot = co_await read();
    std::vector<std::string> names = guest_ports(snapshot);
    for (std::string& tap : co_await blocking(loop_, translated([] { return steps::taps(); })))
        if (!std::ranges::contains(names, tap)) names.push_back(std::move(tap));
    std::ranges::sort(names);
    co_return names;
}

Task<std::vector<agent::NicFacts>> OvsNetwork::interfaces() {
    co_return co_await blocking(loop_, translated([] { return links::physical(); }));
}

Task<Snapshot> OvsNetwork::read() {
    const Json results = co_await session_.transact(read_operations(), config_.limit);
    Snapshot snapshot = parse_snapshot(results);
    if (!snapshot.root.empty()) co_return snapshot;
    // A new database has no row for the switch itself, and vswitchd idles until there is one.
    co_await session_.transact(create_root_operations(), config_.limit);
    const Json again = co_await session_.transact(read_operations(), config_.limit);
    co_return parse_snapshot(again);
}

Task<State> OvsNetwork::state_of(const Snapshot& snapshot) {
    auto bridges = bridges_of(snapshot);
    co_return co_await blocking(loop_,
                                translated([bridges] { return steps::read_links(bridges); }));
}

Task<void> OvsNetwork::commit(Json operations, bool wait_anyway) {
    if (operations.empty() && !wait_anyway) co_return;
    append_bump(operations);
    const Json results = co_await session_.transact(std::move(operations), config_.limit);
    co_await wait_for_config(bumped(results));
}

Task<void> OvsNetwork::wait_for_config(std::int64_t number) {
    const Time deadline = loop_.now() + config_.limit;
    while (current_config_ < number) {
        const Duration left = deadline - loop_.now();
        if (left <= Duration::zero() || !co_await config_changed_.wait_for(left))
            fail("Open vSwitch did not act in time");
    }
}

Task<void> OvsNetwork::prepare_links(std::map<std::string, Bridge> bridges) {
    const bool user_space = config_.datapath == "netdev";
    co_await blocking(loop_, translated([bridges, user_space] { bring_up(bridges, user_space); }));
}

void OvsNetwork::on_change(const Json& tables) {
    if (const auto root = tables.find("Open_vSwitch"); root != tables.end())
        for (const auto& [row, change] : root->items())
            if (change.contains("new") && change.at("new").contains("cur_cfg"))
                change.at("new").at("cur_cfg").get_to(current_config_);
    config_changed_.notify_all();
    // vswitchd tells the index of an interface that it has made: anew after its restart.
    if (const auto interfaces = tables.find("Interface"); interfaces != tables.end())
        for (const auto& [row, change] : interfaces->items())
            if (!change.contains("old") || change.at("old").contains("ifindex")) repair_due_ = true;
    if (repair_due_) repair_.notify_all();
}

Task<void> OvsNetwork::repair_loop() {
    for (;;) {
        while (!repair_due_)
            co_await repair_.wait();
        co_await sleep_for(loop_, repair_delay);
        bool failed = false;
        try {
            const ObjectQueue::Lease lease = co_await queue_.acquire(queue_key);
            repair_due_ = false;
            const Snapshot snapshot = co_await read();
            // First, as an open port is worse than a silent one.
            const auto locked = all_lock_rules(snapshot);
            for (const auto& [bridge, rules] : locked)
                co_await change_rules(bridge, rules);
            if (last_want_) co_await realise(*last_want_);
        } catch (const ApiError& error) {
            log::warn("network.repair", {{"error", error.what()}});
            failed = true;
        }
        if (!failed) continue;
        co_await sleep_for(loop_, repair_retry);
        repair_due_ = true;
    }
}

}  // namespace basalt::nm::ovsdb
