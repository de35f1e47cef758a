#include "network-manager/ovsdb/managers.hpp"

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "idl/errors.hpp"
#include "network-manager/ovsdb/rows.hpp"

namespace basalt::nm::ovsdb {

using Json = nlohmann::json;

namespace {

const Json no_condition = Json::array();

bool is_ours(const Json& external_ids) {
    for (const Json& pair : external_ids.at(1))
        if (pair.at(0) == owner_key && pair.at(1) == owner) return true;
    return false;
}

Json our_ids() {
    return Json::array({"map", Json::array({Json::array({owner_key, owner})})});
}

Json insert(const char* table, Json row, const std::string& name) {
    row["external_ids"] = our_ids();
    return {{"op", "insert"}, {"table", table}, {"row", std::move(row)}, {"uuid-name", name}};
}

Json change_root(const char* mutator, Json manager) {
    return {{"op", "mutate"},
            {"table", "Open_vSwitch"},
            {"where", no_condition},
            {"mutations",
             Json::array({Json::array({"manager_options", mutator, std::move(manager)})})}};
}

// Open vSwitch speaks TLS only with a key of its own.
void add_keys(Json& operations, const ManagerKeys& keys) {
    const Json row = {{"private_key", keys.certificate},
                      {"certificate", keys.certificate},
                      {"ca_cert", keys.authority},
                      {"bootstrap_ca_cert", true}};
    operations.push_back(insert("SSL", row, "keys"));
    operations.push_back({{"op", "update"},
                          {"table", "Open_vSwitch"},
                          {"where", no_condition},
                          {"row", {{"ssl", Json::array({"named-uuid", "keys"})}}}});
}

Managers managers_in(const Json& results) {
    Managers out;
    for (const Json& row : results.at(0).at("rows")) {
        const std::string target = row.at("target").get<std::string>();
        if (is_ours(row.at("external_ids")))
            out.ours.emplace(target, row.at("_uuid").at(1).get<std::string>());
        else
            out.others.insert(target);
    }
    out.has_keys = !results.at(1).at("rows").empty();
    return out;
}

}  // namespace

Json read_managers_operations() {
    return Json::array({{{"op", "select"},
                         {"table", "Manager"},
                         {"where", no_condition},
                         {"columns", Json::array({"_uuid", "target", "external_ids"})}},
                        {{"op", "select"},
                         {"table", "SSL"},
                         {"where", no_condition},
                         {"columns", Json::array({"_uuid"})}}});
}

Managers parse_managers(const Json& results) {
    try {
        return managers_in(results);
    } catch (const Json::exception& error) {
        throw err::internal_error(std::string("ovsdb: unexpected answer: ") + error.what());
    }
}

Json manager_operations(const std::vector<std::string>& wanted, const Managers& have,
                        const ManagerKeys& keys) {
    Json operations = Json::array();
    const std::set<std::string> targets(wanted.begin(), wanted.end());
    // A manager that nobody refers to any more is gone.
    for (const auto& [target, uuid] : have.ours)
        if (!targets.contains(target))
            operations.push_back(change_root("delete", Json::array({"uuid", uuid})));
    std::size_t number = 0;
    for (const std::string& target : targets) {
        if (have.ours.contains(target) || have.others.contains(target)) continue;
        const std::string name = "manager" + std::to_string(++number);
        operations.push_back(insert("Manager", {{"target", target}}, name));
        operations.push_back(change_root("insert", Json::array({"named-uuid", name})));
    }
    if (number > 0 && !have.has_keys) add_keys(operations, keys);
    return operations;
}

}  // namespace basalt::nm::ovsdb
