#include "network-manager/ovsdb/rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/json.hpp"

namespace basalt::nm::ovsdb {
namespace {

Json set(std::initializer_list<Json> members) {
    Json all = Json::array();
    for (const Json& member : members)
        all.push_back(member);
    return Json::array({"set", all});
}

Json uuid(const char* text) {
    return Json::array({"uuid", text});
}

Json map(const Strings& pairs) {
    Json all = Json::array();
    for (const auto& [key, value] : pairs)
        all.push_back(Json::array({key, value}));
    return Json::array({"map", all});
}

Json rows(std::initializer_list<Json> all) {
    return {{"rows", Json(all)}};
}

Json bridge(const char* row, const char* name, Json ports, const Strings& ids,
            const Strings& other) {
    return {{"_uuid", uuid(row)},         {"name", name},
            {"ports", std::move(ports)},  {"external_ids", map(ids)},
            {"other_config", map(other)}, {"mcast_snooping_enable", false}};
}

Json port(const char* row, const char* name, Json tag, const Strings& ids) {
    return {{"_uuid", uuid(row)},      {"name", name},         {"tag", std::move(tag)},
            {"trunks", set({})},       {"fake_bridge", false}, {"external_ids", map(ids)},
            {"interfaces", uuid("i0")}};
}

Json interface(const char* row, const char* name, Json mtu, Json error) {
    return {{"_uuid", uuid(row)},
            {"name", name},
            {"mtu_request", std::move(mtu)},
            {"ofport", 3},
            {"mac", set({})},
            {"error", std::move(error)},
            {"external_ids", map({})}};
}

Strings ours(const char* role) {
    return {{"basalt-owner", "hostd"}, {"basalt-role", role}};
}

// As ovsdb-server answers: a bridge of ours with uplink, VLAN and a guest on it, one of others.
Snapshot sample() {
    Strings guest = ours("guest");
    guest["basalt-network"] = "xapi1";
    Json root = {{"_uuid", uuid("r")}, {"cur_cfg", 4}, {"next_cfg", 5}};
    return parse_snapshot(Json::array(
        {rows({root}),
         rows({bridge("b0", "xenbr0", set({uuid("p0"), uuid("p1"), uuid("p2"), uuid("p3")}),
                      {{"basalt-owner", "hostd"}}, {{"hwaddr", "02:00:00:00:00:01"}}),
               bridge("b1", "theirs", uuid("p4"), {}, {})}),
         rows({port("p0", "xenbr0", set({}), ours("bridge")),
               port("p1", "eth0", set({}), ours("uplink")), port("p2", "xapi1", 7, ours("vlan")),
               port("p3", "vif1.0", 7, guest), port("p4", "theirs", set({}), {})}),
         rows({interface("i0", "xenbr0", 1500, set({})),
               interface("i3", "vif1.0", set({}), "could not open")})}));
}

TEST(Rows, are_read_as_bridges_of_ours) {
    const Snapshot snapshot = sample();
    EXPECT_EQ(snapshot.next_cfg, 5);
    EXPECT_EQ(bridges_of(snapshot),
              (std::map<std::string, Bridge>{
                  {"xenbr0", {.uplink = "eth0", .mtu = 1500, .mac = "02:00:00:00:00:01"}},
                  {"xapi1", {.parent = "xenbr0", .tag = 7}}}));
    EXPECT_THAT(guest_ports(snapshot), testing::ElementsAre("vif1.0"));
    EXPECT_EQ(snapshot.interfaces.at("vif1.0").error, "could not open");
}

TEST(Rows, a_place_is_the_parent_with_the_tag) {
    EXPECT_EQ(find_place(sample(), "xapi1")->bridge, "xenbr0");
    EXPECT_EQ(find_place(sample(), "xapi1")->tag, 7);
    EXPECT_FALSE(find_place(sample(), "xenbr0")->tag.has_value());
    EXPECT_FALSE(find_place(sample(), "theirs").has_value());
}

TEST(Rows, a_plan_becomes_one_transaction) {
    const Json operations = bridge_operations(
        {DelVlan{"xapi1"}, AddBridge{"xenbr1"}, AddUplink{"xenbr1", "eth1", 9000},
         AddVlan{"xapi2", "xenbr0", 8}, SetMac{"xenbr0", ""}, AddAddress{"xenbr1", "10.0.0.1/8"}},
        sample(), "netdev");
    std::string steps;
    for (const Json& operation : operations)
        steps += operation.at("op").get<std::string>() + " " +
                 operation.at("table").get<std::string>() + "\n";
    EXPECT_EQ(steps,
              "mutate Bridge\nmutate Bridge\n"
              "insert Interface\ninsert Port\ninsert Bridge\nmutate Open_vSwitch\n"
              "insert Interface\ninsert Port\nmutate Bridge\n"
              "insert Interface\ninsert Port\nmutate Bridge\n"
              "update Interface\nmutate Bridge\n");
    EXPECT_EQ(operations.at(8).at("where").dump(), R"([["_uuid","==",["named-uuid","row3"]]])");
    EXPECT_EQ(operations.at(11).at("where").dump(), R"([["_uuid","==",["uuid","b0"]]])");
}

TEST(Rows, a_trunk_carries_its_tags_and_what_has_none) {
    PortWant want{.bridge = "xenbr0", .name = "vif1.0"};
    want.nic.trunks = {20, 10};
    const Json operations = add_port_operations(want, {"xenbr0", std::nullopt}, sample());
    const auto made = std::ranges::find_if(operations, [](const Json& operation) {
        return operation.at("op") == "insert" && operation.at("table") == "Port";
    });
    ASSERT_NE(made, operations.end());
    EXPECT_EQ(made->at("row").at("vlan_mode"), "trunk");
    EXPECT_EQ(made->at("row").at("trunks").dump(), R"(["set",[0,10,20]])");
}

TEST(Rows, a_port_of_someone_else_is_refused) {
    const PortWant want{.bridge = "xenbr0", .name = "theirs"};
    EXPECT_THROW(add_port_operations(want, {"xenbr0", std::nullopt}, sample()), ApiError);
    EXPECT_TRUE(remove_port_operations("theirs", sample()).empty());
    EXPECT_THROW(bridge_operations({AddBridge{"theirs"}}, sample(), "netdev"), ApiError);
}

TEST(Rows, an_answer_of_another_shape_is_an_error) {
    for (const char* text : {"[]", "{}", "[{},{},{},{}]", R"([{"rows":[{"_uuid":1}]}])",
                             R"([{"rows":[]},{"rows":[{"_uuid":["uuid","a"],"name":7}]}])"}) {
        EXPECT_THROW((void)parse_snapshot(Json::parse(text)), ApiError) << text;
        EXPECT_THROW((void)bumped(Json::parse(text)), ApiError) << text;
    }
}

}  // namespace
}  // namespace basalt::nm::ovsdb
