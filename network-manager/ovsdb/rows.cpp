#include "network-manager/ovsdb/rows.hpp"

#include <algorithm>
#include <ranges>

#include "base/json.hpp"
#include "idl/errors.hpp"
#include "network-manager/ovsdb/locks.hpp"

namespace basalt::nm::ovsdb {

namespace {

// Marks of our rows in external_ids. A port's role tells a guest's tap from an uplink.
constexpr auto role_key = "basalt-role";
constexpr auto network_key = "basalt-network";
// What was asked of a bond, so that it can be compared word for word.
constexpr auto bond_mode_key = "basalt-bond-mode";
constexpr auto bond_property_key = "basalt-bond-";

bool ours(const Strings& external_ids) {
    const auto found = external_ids.find(owner_key);
    return found != external_ids.end() && found->second == owner;
}

std::string get(const Strings& map, const std::string& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::string() : found->second;
}

bool has_role(const PortRow& port, const char* role) {
    return ours(port.external_ids) && get(port.external_ids, role_key) == role;
}

// RFC 7047 5.1: a set of one is written as its member, others as ["set", [...]].
Json members(const Json& value) {
    if (value.is_array() && value.size() == 2 && value.at(0) == "set") return value.at(1);
    return Json::array({value});
}

template <class T>
std::optional<T> optional(const Json& value) {
    const Json all = members(value);
    if (all.empty()) return std::nullopt;
    return all.at(0).get<T>();
}

std::vector<std::string> uuids(const Json& value) {
    std::vector<std::string> out;
    for (const Json& member : members(value))
        out.push_back(member.at(1).get<std::string>());
    return out;
}

std::set<std::int64_t> numbers(const Json& value) {
    return members(value).get<std::set<std::int64_t>>();
}

Strings strings(const Json& value) {
    Strings out;
    for (const Json& pair : value.at(1))
        out.emplace(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
    return out;
}

std::string uuid(const Json& row) {
    return row.at("_uuid").at(1).get<std::string>();
}

Json map_of(const Strings& map) {
    Json pairs = Json::array();
    for (const auto& [key, value] : map)
        pairs.push_back(Json::array({key, value}));
    return Json::array({"map", std::move(pairs)});
}

Json where_uuid(const Json& row) {
    return Json::array({Json::array({"_uuid", "==", row})});
}

Json where_name(const std::string& name) {
    return Json::array({Json::array({"name", "==", name})});
}

Json uuid_of(const std::string& text) {
    return Json::array({"uuid", text});
}

Json select(const char* table, std::initializer_list<const char*> columns) {
    Json names = Json::array();
    for (const char* column : columns)
        names.push_back(column);
    return {{"op", "select"}, {"table", table}, {"where", Json::array()}, {"columns", names}};
}

Json mutate(const char* table, Json where, Json mutations) {
    return {{"op", "mutate"},
            {"table", table},
            {"where", std::move(where)},
            {"mutations", std::move(mutations)}};
}

Json mutation(const char* column, const char* mutator, Json value) {
    return Json::array({Json::array({column, mutator, std::move(value)})});
}

Json update(const char* table, Json where, Json row) {
    return {
        {"op", "update"}, {"table", table}, {"where", std::move(where)}, {"row", std::move(row)}};
}

Json mtu_column(std::int64_t mtu) {
    return mtu > 0 ? Json(mtu) : Json::array({"set", Json::array()});
}

/// Collects operations; rows made in the same transaction are referred to by names of its own.
class Builder {
  public:
    explicit Builder(const Snapshot& snapshot) : snapshot_(snapshot) {}

    Json insert(const char* table, Json row) {
        const std::string name = "row" + std::to_string(++last_row_);
        operations_.push_back(
            {{"op", "insert"}, {"table", table}, {"row", std::move(row)}, {"uuid-name", name}});
        return Json::array({"named-uuid", name});
    }

    void add(Json operation) { operations_.push_back(std::move(operation)); }

    void add_bridge(const std::string& name, const std::string& datapath) {
        if (snapshot_.bridges.contains(name) && !ours(snapshot_.bridges.at(name).external_ids))
            throw err::internal_error("network: bridge " + name + " is not ours");
        const Json port = insert_port({{"name", name}}, {{"name", name}, {"type", "internal"}},
                                      {{role_key, "bridge"}});
        const Strings ids{{owner_key, owner}};
        // In-band control would pass some traffic by the flow table; nobody controls us in band.
        const Strings other{{"disable-in-band", "true"}};
        const Json bridge = insert("Bridge", {{"name", name},
                                              {"datapath_type", datapath},
                                              {"fail_mode", "standalone"},
                                              {"ports", port},
                                              {"external_ids", map_of(ids)},
                                              {"other_config", map_of(other)}});
        made_[name] = bridge;
        add(mutate("Open_vSwitch", Json::array(), mutation("bridges", "insert", bridge)));
    }

    /// Inserts a port with its one interface, both called the same and marked as ours.
    Json insert_port(Json port, Json interface, Strings ids, Strings interface_ids = {}) {
        ids.emplace(owner_key, owner);
        interface["external_ids"] = map_of(interface_ids);
        port["interfaces"] = insert("Interface", std::move(interface));
        port["external_ids"] = map_of(ids);
        return insert("Port", std::move(port));
    }

    /// A port with an interface for each member, as ovs-vswitchd.conf.db(5) has it.
    Json insert_bond(const AddUplink& uplink) {
        const Bond& bond = uplink.bond;
        const auto property = [&bond](const char* key) { return get(bond.properties, key); };
        Strings ids{{owner_key, owner}, {role_key, "uplink"}, {bond_mode_key, bond.mode}};
        for (const auto& [key, value] : bond.properties)
            ids.emplace(bond_property_key + key, value);
        Strings interface_other;
        if (const std::string key = property("lacp-aggregation-key"); !key.empty())
            interface_other["lacp-aggregation-key"] = key;
        Json interfaces = Json::array();
        for (const std::string& member : bond.members)
            interfaces.push_back(insert("Interface", {{"name", member},
                                                      {"mtu_request", mtu_column(uplink.mtu)},
                                                      {"other_config", map_of(interface_other)}}));
        const bool lacp = bond.mode == "lacp";
        const bool by_source = property("hashing_algorithm") == "src_mac";
        Strings other;
        if (lacp) {
            other["lacp-time"] = property("lacp-time") == "fast" ? "fast" : "slow";
            other["lacp-fallback-ab"] = property("lacp-fallback-ab") == "false" ? "false" : "true";
        }
        return insert("Port", {{"name", uplink.uplink},
                               {"interfaces", Json::array({"set", std::move(interfaces)})},
                               {"bond_mode", !lacp       ? bond.mode
                                             : by_source ? "balance-slb"
                                                         : "balance-tcp"},
                               {"lacp", lacp ? "active" : "off"},
                               {"other_config", map_of(other)},
                               {"external_ids", map_of(ids)}});
    }

    void attach(const std::string& bridge, const Json& port) {
        add(mutate("Bridge", where_uuid(bridge_ref(bridge)), mutation("ports", "insert", port)));
    }

    // Ports without a bridge, and their interfaces, are collected by the database.
    void detach(const PortRow& port) {
        const BridgeRow* bridge = snapshot_.bridge_of(port);
        if (bridge == nullptr) return;
        add(mutate("Bridge", where_uuid(uuid_of(bridge->uuid)),
                   mutation("ports", "delete", uuid_of(port.uuid))));
    }

    [[nodiscard]] Json take() { return std::move(operations_); }

  private:
    [[nodiscard]] Json bridge_ref(const std::string& name) const {
        if (const auto found = made_.find(name); found != made_.end()) return found->second;
        const auto found = snapshot_.bridges.find(name);
        if (found == snapshot_.bridges.end()) throw err::bridge_not_available(name);
        return uuid_of(found->second.uuid);
    }

    const Snapshot& snapshot_;
    Json operations_ = Json::array();
    std::map<std::string, Json> made_;
    int last_row_ = 0;
};

/// One step each; address steps fall through to nothing.
class Translator {
  public:
    Translator(Builder& builder, const Snapshot& snapshot, const std::string& datapath)
        : builder_(builder), snapshot_(snapshot), datapath_(datapath) {}

    void operator()(const DelVlan& a) {
        const PortRow* vlan = snapshot_.port(a.name);
        if (vlan == nullptr) return;
        for (const PortRow& port : guests_of(a.name))
            builder_.detach(port);
        builder_.detach(*vlan);
    }

    void operator()(const DelBridge& a) {
        const auto found = snapshot_.bridges.find(a.name);
        if (found == snapshot_.bridges.end()) return;
        builder_.add(mutate("Open_vSwitch", Json::array(),
                            mutation("bridges", "delete", uuid_of(found->second.uuid))));
    }

    void operator()(const DelUplink& a) {
        if (const PortRow* port = snapshot_.port(a.uplink)) builder_.detach(*port);
    }

    void operator()(const AddBridge& a) { builder_.add_bridge(a.name, datapath_); }

    void operator()(const AddUplink& a) {
        if (!a.bond.members.empty()) return builder_.attach(a.bridge, builder_.insert_bond(a));
        Json interface = {{"name", a.uplink}, {"mtu_request", mtu_column(a.mtu)}};
        builder_.attach(a.bridge, builder_.insert_port({{"name", a.uplink}}, std::move(interface),
                                                       {{role_key, "uplink"}}));
    }

    // A port with a tag that Open vSwitch itself lists as a bridge.
    void operator()(const AddVlan& a) {
        Json port = {{"name", a.name}, {"tag", a.tag}, {"fake_bridge", true}};
        builder_.attach(a.parent, builder_.insert_port(std::move(port),
                                                       {{"name", a.name}, {"type", "internal"}},
                                                       {{role_key, "vlan"}}));
    }

    void operator()(const SetTag& a) {
        builder_.add(update("Port", where_name(a.name), {{"tag", a.tag}}));
        for (const PortRow& port : guests_of(a.name))
            builder_.add(update("Port", where_name(port.name), {{"tag", a.tag}}));
    }

    void operator()(const SetMtu& a) {
        for (const std::string& name : {a.bridge, a.uplink})
            if (!name.empty())
                builder_.add(
                    update("Interface", where_name(name), {{"mtu_request", mtu_column(a.mtu)}}));
    }

    // A real bridge takes its address from other_config, a VLAN's own interface from its row.
    void operator()(const SetMac& a) {
        const Json mac = a.mac.empty() ? Json::array({"set", Json::array()}) : Json(a.mac);
        builder_.add(update("Interface", where_name(a.bridge), {{"mac", mac}}));
        builder_.add(mutate(
            "Bridge", where_name(a.bridge),
            mutation("other_config", "delete", Json::array({"set", Json::array({"hwaddr"})}))));
        if (!a.mac.empty())
            builder_.add(mutate("Bridge", where_name(a.bridge),
                                mutation("other_config", "insert", map_of({{"hwaddr", a.mac}}))));
    }

    void operator()(const SetSnooping& a) {
        builder_.add(update("Bridge", where_name(a.bridge), {{"mcast_snooping_enable", a.on}}));
    }

    template <class AddressStep>
    void operator()(const AddressStep&) {}

  private:
    [[nodiscard]] std::vector<PortRow> guests_of(const std::string& network) const {
        std::vector<PortRow> out;
        for (const auto& [row, port] : snapshot_.ports)
            if (has_role(port, "guest") && get(port.external_ids, network_key) == network)
                out.push_back(port);
        return out;
    }

    Builder& builder_;
    const Snapshot& snapshot_;
    const std::string& datapath_;
};

Strings guest_ids(const PortWant& port) {
    return {{role_key, "guest"}, {network_key, port.bridge}};
}

Strings interface_ids(const PortWant& port) {
    Strings ids = {{"iface-id", port.nic.vif},
                   {"xs-vif-uuid", port.nic.vif},
                   {"attached-mac", port.nic.mac},
                   {"iface-status", port.nic.disabled ? "inactive" : "active"}};
    if (const auto lock = lock_of(port.nic)) ids[lock_key] = to_text(*lock);
    return ids;
}

}  // namespace

const PortRow* Snapshot::port(const std::string& name) const {
    for (const auto& [row, port] : ports)
        if (port.name == name) return &port;
    return nullptr;
}

const BridgeRow* Snapshot::bridge_of(const PortRow& port) const {
    for (const auto& [name, bridge] : bridges)
        if (std::ranges::contains(bridge.ports, port.uuid)) return &bridge;
    return nullptr;
}

Json read_operations() {
    return Json::array({select("Open_vSwitch", {"_uuid", "cur_cfg", "next_cfg"}),
                        select("Bridge", {"_uuid", "name", "ports", "external_ids", "other_config",
                                          "mcast_snooping_enable"}),
                        select("Port", {"_uuid", "name", "tag", "trunks", "fake_bridge",
                                        "external_ids", "interfaces"}),
                        select("Interface", {"_uuid", "name", "mtu_request", "ofport", "mac",
                                             "error", "external_ids"})});
}

Json create_root_operations() {
    return Json::array({{{"op", "insert"}, {"table", "Open_vSwitch"}, {"row", Json::object()}}});
}

namespace {

Snapshot snapshot_of(const Json& results) {
    Snapshot out;
    for (const Json& row : results.at(0).at("rows")) {
        out.root = uuid(row);
        row.at("cur_cfg").get_to(out.cur_cfg);
        row.at("next_cfg").get_to(out.next_cfg);
    }
    for (const Json& row : results.at(1).at("rows")) {
        BridgeRow bridge{uuid(row),
                         row.at("name").get<std::string>(),
                         uuids(row.at("ports")),
                         strings(row.at("external_ids")),
                         strings(row.at("other_config")),
                         row.at("mcast_snooping_enable").get<bool>()};
        out.bridges.emplace(bridge.name, std::move(bridge));
    }
    for (const Json& row : results.at(2).at("rows")) {
        PortRow port{uuid(row),
                     row.at("name").get<std::string>(),
                     optional<std::int64_t>(row.at("tag")),
                     numbers(row.at("trunks")),
                     row.at("fake_bridge").get<bool>(),
                     strings(row.at("external_ids")),
                     uuids(row.at("interfaces"))};
        out.ports.emplace(port.uuid, std::move(port));
    }
    for (const Json& row : results.at(3).at("rows")) {
        InterfaceRow interface{uuid(row),
                               row.at("name").get<std::string>(),
                               optional<std::string>(row.at("error")).value_or(""),
                               optional<std::int64_t>(row.at("mtu_request")).value_or(0),
                               optional<std::int64_t>(row.at("ofport")),
                               optional<std::string>(row.at("mac")).value_or(""),
                               strings(row.at("external_ids"))};
        out.interfaces.emplace(interface.name, std::move(interface));
    }
    return out;
}

/// What a database that is not Open vSwitch's answers becomes the error of the call.
template <class Read>
auto read_or_fail(Read read) {
    try {
        return read();
    } catch (const Json::exception& error) {
        throw err::internal_error(std::string("ovsdb: unexpected answer: ") + error.what());
    }
}

}  // namespace

Snapshot parse_snapshot(const Json& results) {
    return read_or_fail([&] { return snapshot_of(results); });
}

namespace {

Bond bond_of(const PortRow& port, const Snapshot& snapshot) {
    Bond out{.mode = get(port.external_ids, bond_mode_key)};
    if (out.mode.empty()) return {};
    for (const auto& [name, interface] : snapshot.interfaces)
        if (std::ranges::contains(port.interfaces, interface.uuid)) out.members.push_back(name);
    for (const auto& [key, value] : port.external_ids)
        if (key.starts_with(bond_property_key) && key != bond_mode_key)
            out.properties.emplace(key.substr(std::string_view(bond_property_key).size()), value);
    return out;
}

}  // namespace

std::map<std::string, Bridge> bridges_of(const Snapshot& snapshot) {
    std::map<std::string, Bridge> out;
    const auto mtu_of = [&](const std::string& name) {
        const auto found = snapshot.interfaces.find(name);
        return found == snapshot.interfaces.end() ? 0 : found->second.mtu_request;
    };
    for (const auto& [name, row] : snapshot.bridges) {
        if (!ours(row.external_ids)) continue;
        Bridge bridge{
            .mtu = mtu_of(name), .mac = get(row.other_config, "hwaddr"), .snooping = row.snooping};
        for (const std::string& port_uuid : row.ports) {
            const auto found = snapshot.ports.find(port_uuid);
            if (found == snapshot.ports.end()) continue;
            const PortRow& port = found->second;
            if (has_role(port, "uplink")) {
                bridge.uplink = port.name;
                bridge.bond = bond_of(port, snapshot);
            }
            if (!has_role(port, "vlan")) continue;
            Bridge vlan{.parent = name, .tag = port.tag.value_or(0), .mtu = mtu_of(port.name)};
            if (const auto interface = snapshot.interfaces.find(port.name);
                interface != snapshot.interfaces.end())
                vlan.mac = interface->second.mac;
            out.emplace(port.name, std::move(vlan));
        }
        out.insert_or_assign(name, std::move(bridge));
    }
    return out;
}

std::vector<std::string> guest_ports(const Snapshot& snapshot) {
    std::vector<std::string> out;
    for (const auto& [row, port] : snapshot.ports)
        if (has_role(port, "guest")) out.push_back(port.name);
    std::ranges::sort(out);
    return out;
}

agent::NetworkHave report(const Snapshot& snapshot, const State& state) {
    std::map<std::string, agent::BridgeHave> out;
    for (const auto& [name, bridge] : state.bridges) {
        agent::BridgeHave have{.name = name, .vlan_parent = bridge.parent, .vlan_tag = bridge.tag};
        if (!bridge.uplink.empty()) have.ports.push_back(bridge.uplink);
        report_addresses(have, state);
        out.emplace(name, std::move(have));
    }
    for (const auto& [row, port] : snapshot.ports) {
        const auto found = out.find(get(port.external_ids, network_key));
        if (has_role(port, "guest") && found != out.end()) found->second.ports.push_back(port.name);
    }
    agent::NetworkHave have;
    for (auto& [name, bridge] : out) {
        std::ranges::sort(bridge.ports);
        have.bridges.push_back(std::move(bridge));
    }
    return have;
}

std::optional<Place> find_place(const Snapshot& snapshot, const std::string& bridge) {
    const auto bridges = bridges_of(snapshot);
    const auto found = bridges.find(bridge);
    if (found == bridges.end()) return std::nullopt;
    if (found->second.parent.empty()) return Place{bridge, std::nullopt};
    return Place{found->second.parent, found->second.tag};
}

Json bridge_operations(const std::vector<Action>& actions, const Snapshot& snapshot,
                       const std::string& datapath) {
    Builder builder(snapshot);
    Translator translator(builder, snapshot, datapath);
    for (const Action& action : actions)
        std::visit(translator, action);
    return builder.take();
}

namespace {

// What the guest sends without a tag stays in the network itself.
std::set<std::int64_t> trunks_of(const PortWant& want) {
    std::set<std::int64_t> out(want.nic.trunks.begin(), want.nic.trunks.end());
    if (!out.empty()) out.insert(0);
    return out;
}

}  // namespace

Json add_port_operations(const PortWant& want, const Place& place, const Snapshot& snapshot) {
    Builder builder(snapshot);
    if (const PortRow* port = snapshot.port(want.name)) {
        if (!has_role(*port, "guest"))
            throw err::internal_error("network: " + want.name + " is not a guest's port");
        const BridgeRow* bridge = snapshot.bridge_of(*port);
        const auto interface = snapshot.interfaces.find(want.name);
        const bool same = bridge != nullptr && bridge->name == place.bridge &&
                          port->tag == place.tag && port->trunks == trunks_of(want) &&
                          get(port->external_ids, network_key) == want.bridge &&
                          interface != snapshot.interfaces.end() &&
                          interface->second.external_ids == interface_ids(want) &&
                          interface->second.mtu_request == want.mtu;
        if (same) return builder.take();
        builder.detach(*port);
    }
    Json row = {{"name", want.name}};
    if (place.tag) row["tag"] = *place.tag;
    if (const auto trunks = trunks_of(want); !trunks.empty()) {
        row["vlan_mode"] = "trunk";
        row["trunks"] = {"set", trunks};
    }
    builder.attach(place.bridge,
                   builder.insert_port(std::move(row),
                                       {{"name", want.name}, {"mtu_request", mtu_column(want.mtu)}},
                                       guest_ids(want), interface_ids(want)));
    return builder.take();
}

Json remove_port_operations(const std::string& name, const Snapshot& snapshot) {
    Builder builder(snapshot);
    const PortRow* port = snapshot.port(name);
    if (port != nullptr && has_role(*port, "guest")) builder.detach(*port);
    return builder.take();
}

void append_bump(Json& operations) {
    operations.push_back(
        mutate("Open_vSwitch", Json::array(), mutation("next_cfg", "+=", Json(1))));
    operations.push_back(select("Open_vSwitch", {"next_cfg"}));
}

std::int64_t bumped(const Json& results) {
    return read_or_fail([&] {
        if (!results.is_array() || results.empty())
            throw err::internal_error("ovsdb: unexpected answer: no results");
        return results.back().at("rows").at(0).at("next_cfg").get<std::int64_t>();
    });
}

}  // namespace basalt::nm::ovsdb
