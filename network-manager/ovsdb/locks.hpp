#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "network-manager/api/network.hpp"
#include "network-manager/ovsdb/rows.hpp"

/// What a guest may send from a VIF that is locked, as rules of the switch. OVSDB has no such
/// rules: they are spoken in OpenFlow, and vswitchd forgets them when it restarts. So a lock is
/// also kept with the interface's row, from which the rules can be made again. All pure.
namespace basalt::nm::ovsdb {

struct Lock {
    std::string mac;
    std::vector<std::string> ipv4;  // none and no ipv6: nothing may be sent
    std::vector<std::string> ipv6;
    bool operator==(const Lock&) const = default;
};

/// None when the NIC may send what it likes. A disabled one may send nothing.
std::optional<Lock> lock_of(const agent::NicSpec& nic);

/// The lock as a value of the interface's external_ids under `lock_key`, and back.
inline constexpr const char* lock_key = "basalt-lock";
std::string to_text(const Lock& lock);
std::optional<Lock> lock_from(const std::string& text);

/// What is to be done to one bridge, as lines for `ovs-ofctl --bundle add-flows`: old rules of the
/// port go and the new ones come in one step.
std::string lock_rules(const std::string& port, std::int64_t number, const Lock& lock);
std::string unlock_rules(const std::string& port);

/// Rules of all locked ports, by bridge.
std::map<std::string, std::string> all_lock_rules(const Snapshot& snapshot);

}  // namespace basalt::nm::ovsdb
