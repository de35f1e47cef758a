#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "network-manager/api/network.hpp"
#include "network-manager/plan/plan.hpp"

/// The rows of Open vSwitch's database that matter here, and how steps become its operations.
/// All pure.
namespace basalt::nm::ovsdb {

using Strings = std::map<std::string, std::string>;

/// Of external_ids: what every row of ours says.
inline constexpr auto owner_key = "basalt-owner";
inline constexpr auto owner = "hostd";

struct BridgeRow {
    std::string uuid, name;
    std::vector<std::string> ports;  // uuids
    Strings external_ids, other_config;
    bool snooping = false;
};

struct PortRow {
    std::string uuid, name;
    std::optional<std::int64_t> tag;
    std::set<std::int64_t> trunks;  // VLANs that it carries tagged, 0 for untagged; none: all
    bool fake_bridge = false;
    Strings external_ids;
    std::vector<std::string> interfaces;  // uuids
};

struct InterfaceRow {
    std::string uuid, name, error;
    std::int64_t mtu_request = 0;
    std::optional<std::int64_t> ofport;
    std::string mac;
    Strings external_ids;
};

/// One consistent reading of the database.
struct Snapshot {
    std::string root;
    std::int64_t cur_cfg = 0;
    std::int64_t next_cfg = 0;
    std::map<std::string, BridgeRow> bridges;        // by name
    std::map<std::string, PortRow> ports;            // by uuid
    std::map<std::string, InterfaceRow> interfaces;  // by name

    [[nodiscard]] const PortRow* port(const std::string& name) const;
    /// The bridge that a port is on; null when on none.
    [[nodiscard]] const BridgeRow* bridge_of(const PortRow& port) const;
};

/// Where a guest's port goes: a real bridge, and the tag when `bridge` is a VLAN on it.
struct Place {
    std::string bridge;
    std::optional<std::int64_t> tag;
};

nlohmann::json read_operations();
/// Makes the one row of the table Open_vSwitch; fails when there is one.
nlohmann::json create_root_operations();
/// Throws INTERNAL_ERROR for what no Open vSwitch answers.
Snapshot parse_snapshot(const nlohmann::json& results);

/// Our bridges as the plan sees them; addresses are not in the database.
std::map<std::string, Bridge> bridges_of(const Snapshot& snapshot);
/// Names of guest ports that we made.
std::vector<std::string> guest_ports(const Snapshot& snapshot);
/// What is reported: every bridge of ours with all its ports.
agent::NetworkHave report(const Snapshot& snapshot, const State& state);
/// Nothing when there is no such bridge of ours.
std::optional<Place> find_place(const Snapshot& snapshot, const std::string& bridge);

/// The bridge half of a plan as operations of one transaction; address steps are left out.
/// `datapath` is netdev (user space) or system. Throws INTERNAL_ERROR for a bridge of someone else.
nlohmann::json bridge_operations(const std::vector<Action>& actions, const Snapshot& snapshot,
                                 const std::string& datapath);
/// Puts the tap on the bridge, moving or refreshing a port that is there; empty when nothing
/// differs.
nlohmann::json add_port_operations(const PortWant& port, const Place& place,
                                   const Snapshot& snapshot);
nlohmann::json remove_port_operations(const std::string& name, const Snapshot& snapshot);

/// Appends what makes vswitchd report when it has acted: next_cfg grows, and the last result of the
/// transaction tells the number that cur_cfg will reach.
void append_bump(nlohmann::json& operations);
std::int64_t bumped(const nlohmann::json& results);

}  // namespace basalt::nm::ovsdb
