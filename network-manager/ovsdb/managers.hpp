#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

/// Who may manage the switch over the network (rows of the table Manager), and by which keys the
/// switch proves itself to them. All pure.
namespace basalt::nm::ovsdb {

/// Files that the switch reads: its key and certificate in one, and the authority of its managers,
/// which it writes itself when it first meets one.
struct ManagerKeys {
    std::string certificate;
    std::string authority;
};

struct Managers {
    std::map<std::string, std::string> ours;  // target -> uuid
    std::set<std::string> others;             // targets that somebody else set
    bool has_keys = false;
};

nlohmann::json read_managers_operations();
/// Throws INTERNAL_ERROR for what no Open vSwitch answers.
Managers parse_managers(const nlohmann::json& results);
/// Empty when nothing differs. Managers and keys of others stay as they are.
nlohmann::json manager_operations(const std::vector<std::string>& wanted, const Managers& have,
                                  const ManagerKeys& keys);

}  // namespace basalt::nm::ovsdb
