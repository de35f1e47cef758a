#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/real_loop.hpp"
#include "network-manager/api/network.hpp"
#include "network-manager/ovsdb/client.hpp"
#include "network-manager/ovsdb/managers.hpp"
#include "network-manager/ovsdb/rows.hpp"

namespace basalt::nm::ovsdb {

struct OvsConfig {
    /// The socket of ovsdb-server.
    std::string database = "/var/run/openvswitch/db.sock";
    /// `system` for the kernel's datapath, `netdev` for the one in user space.
    std::string datapath = "system";
    /// Rewritten with the name servers of the want; empty: left alone.
    std::string resolv_conf;
    ManagerKeys manager_keys;
    /// The uid that may open guests' taps; -1: root only.
    std::int64_t port_owner = -1;
    /// How long Open vSwitch may take to act.
    Duration limit = 10s;
};

/// nm::Network over Open vSwitch. Rows of others are never changed. VLANs are ports with a tag that
/// Open vSwitch lists as bridges ("fake bridges"); guests' ports on them carry the tag.
class OvsNetwork final : public Network {
  public:
    OvsNetwork(RealLoop& loop, OvsConfig config);

    /// Keeps the connection, and repairs the last applied want when Open vSwitch was restarted
    /// (a bridge's interface, and with it its address, goes with vswitchd). Spawn it once, before
    /// any verb; cancel it and wait for it before this object goes.
    Task<void> run();

    [[nodiscard]] std::string backend() const override { return "openvswitch"; }

    Task<agent::NetworkHave> have() override;
    /// An uplink that is not there is no error: Open vSwitch takes it up when it appears.
    Task<agent::NetworkHave> apply(agent::NetworkWant want) override;
    Task<void> add_port(PortWant port) override;
    Task<void> remove_port(std::string name) override;
    Task<std::vector<std::string>> ports() override;
    Task<std::vector<agent::NicFacts>> interfaces() override;

  private:
    Task<Snapshot> read();
    /// Bridges from the database, addresses from the kernel.
    Task<State> state_of(const Snapshot& snapshot);
    /// Of `apply`, what is done under the queue's lease.
    Task<void> realise(agent::NetworkWant want);
    Task<void> reach(State wanted, State have);
    Task<void> restore(State before);
    Task<void> set_managers(std::vector<std::string> wanted);
    /// Commits and waits until vswitchd has acted. Nothing to do: only waits if `wait_anyway`.
    Task<void> commit(nlohmann::json operations, bool wait_anyway = false);
    Task<void> wait_for_config(std::int64_t number);
    Task<void> prepare_links(std::map<std::string, Bridge> bridges);
    Task<void> plug(PortWant port, Place place, bool was_there);
    Task<void> unplug(std::string name);
    /// Makes the rules of a port as its row says. An open port that is new has none to lose.
    Task<void> leave_bridge(std::string name, std::string next);
    Task<void> lock(std::string name, bool was_there);
    /// Tells vswitchd the rules of one bridge.
    Task<void> change_rules(std::string bridge, std::string rules);
    Task<void> repair_loop();
    void on_change(const nlohmann::json& tables);

    RealLoop& loop_;
    OvsConfig config_;
    ObjectQueue queue_;
    Session session_;
    std::int64_t current_config_ = 0;
    Signal config_changed_;
    bool repair_due_ = false;
    Signal repair_;
    std::optional<agent::NetworkWant> last_want_;
};

}  // namespace basalt::nm::ovsdb
