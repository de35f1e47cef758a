#include "metrics/text.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>

namespace basalt::metrics {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

constexpr double day = 1'700'000'000;
const std::string uuid = "8c2a5a0e-0000-4000-8000-000000000001";

SourceInfo describe(std::string_view name) {
    return {.name = std::string(name), .units = "B", .min = 0};
}

Rrd minutes(int count, double value) {
    Rrd rrd;
    for (int i = 0; i <= count * 12; ++i)
        rrd.update(day + 5 * i, std::vector<Sample>{{"memory", value}, {"cpu0", 0.25}}, describe,
                   10);
    return rrd;
}

std::string written(const Updates& updates, bool json) {
    std::string out;
    updates.write(json, [&out](std::string_view piece) { out += piece; });
    return out;
}

std::string whole(const Rrd& rrd, bool json) {
    std::string out;
    write_whole(rrd, day, json, [&out](std::string_view piece) { out += piece; });
    return out;
}

TEST(NumberText, is_as_clients_know_it) {
    EXPECT_EQ(number_text(0), "0.0");
    EXPECT_EQ(number_text(-0.0), "0.0");
    EXPECT_EQ(number_text(unknown), "NaN");
    EXPECT_EQ(number_text(1.0 / 3), "0.333333333333333");
    EXPECT_EQ(number_text(8589934592), "8589934592");
    EXPECT_EQ(number_text(1e300), "1e+300");
    EXPECT_EQ(number_text(-std::numeric_limits<double>::infinity()), "-Infinity");
}

TEST(Updates, the_finest_archive_that_reaches_back_answers) {
    const double now = day + 3;
    const auto step = [now](std::int64_t back, std::int64_t interval) {
        return Updates({static_cast<std::int64_t>(now) - back, interval, {Fold::average}}, now)
            .step();
    };
    EXPECT_EQ(step(595, 5), 5);
    EXPECT_EQ(step(600, 0), 5);
    EXPECT_EQ(step(606, 0), 60);
    EXPECT_EQ(step(100, 60), 60);
    EXPECT_EQ(step(7100, 5), 60);
    EXPECT_EQ(step(7300, 5), 3600);
    EXPECT_EQ(step(100, 61), 3600);
    EXPECT_EQ(step(86400 * 300, 86400), 86400);
    EXPECT_EQ(step(86400 * 3000, 5), 86400) << "the coarsest, when none reaches back";
}

TEST(Updates, rows_are_newest_first_and_later_than_the_start) {
    const Rrd vm = minutes(2, 4096);
    Updates updates({static_cast<std::int64_t>(day) + 100, 5, {Fold::average}}, day + 120);
    updates.add("vm:" + uuid, vm);
    EXPECT_EQ(
        written(updates, true),
        R"({"meta":{"start":"1700000105","step":"5","end":"1700000120","rows":"4","columns":"2",)"
        R"("legend":["AVERAGE:vm:)" +
            uuid + R"(:memory","AVERAGE:vm:)" + uuid +
            R"(:cpu0"]},"data":[{"t":"1700000120","values":["4096","0.25"]},)"
            R"({"t":"1700000115","values":["4096","0.25"]},)"
            R"({"t":"1700000110","values":["4096","0.25"]},)"
            R"({"t":"1700000105","values":["4096","0.25"]}]})");
    EXPECT_EQ(
        written(Updates({static_cast<std::int64_t>(day) + 115, 5, {Fold::average}}, day + 120),
                false),
        "<xport><meta><start>1700000120</start><step>5</step><end>1700000120</end>"
        "<rows>1</rows><columns>0</columns><legend></legend></meta>"
        "<data><row><t>1700000120</t></row></data></xport>");
}

TEST(Updates, nothing_new_is_no_row) {
    Updates updates({static_cast<std::int64_t>(day) + 120, 5, {Fold::average}}, day + 121);
    updates.add("host:" + uuid, minutes(2, 1));
    const Json answer = Json::parse(written(updates, true));
    EXPECT_EQ(answer["meta"]["rows"], "0");
    EXPECT_EQ(answer["meta"]["columns"], "2");
    EXPECT_TRUE(answer["data"].empty());
}

TEST(Updates, owners_of_different_ages_share_the_rows) {
    Updates updates({static_cast<std::int64_t>(day), 60, {Fold::average}}, day + 300);
    updates.add("host:h", minutes(5, 1));
    updates.add("vm:v", minutes(2, 2));  // ended long before
    const Json answer = Json::parse(written(updates, true));
    EXPECT_EQ(answer["meta"]["rows"], "5");
    EXPECT_THAT(answer["data"][0]["values"], ElementsAre("1", "0.25", "NaN", "NaN"));
    EXPECT_THAT(answer["data"][4]["values"], ElementsAre("1", "0.25", "2", "0.25"));
}

TEST(Whole, xml_has_every_row_of_every_archive) {
    const Rrd rrd = minutes(3, 10);
    pugi::xml_document doc;
    ASSERT_TRUE(doc.load_string(whole(rrd, false).c_str()));
    const pugi::xml_node root = doc.child("rrd");
    EXPECT_STREQ(root.child_value("version"), "0003");
    EXPECT_STREQ(root.child_value("step"), "5");
    EXPECT_STREQ(root.child_value("lastupdate"), "1700000180");
    EXPECT_STREQ(root.child("ds").child_value("name"), "memory");
    EXPECT_STREQ(root.child("ds").child_value("type"), "GAUGE");
    EXPECT_STREQ(root.child("ds").child_value("minimal_heartbeat"), "300");
    EXPECT_STREQ(root.child("ds").child_value("max"), "Infinity");
    std::vector<std::pair<std::string, std::ptrdiff_t>> found;
    for (const pugi::xml_node rra : root.children("rra")) {
        const auto rows = rra.child("database").children("row");
        found.emplace_back(rra.child_value("pdp_per_row"), std::distance(rows.begin(), rows.end()));
        for (const pugi::xml_node row : rows)
            EXPECT_EQ(std::distance(row.begin(), row.end()), 2);
    }
    EXPECT_THAT(found, ElementsAre(std::pair{"1", 120}, std::pair{"12", 120}, std::pair{"720", 168},
                                   std::pair{"17280", 366}));
    const pugi::xml_node minute = root.child("rra").next_sibling("rra");
    EXPECT_STREQ(minute.child("database").last_child().child_value("v"), "10");
    EXPECT_STREQ(minute.child("database").first_child().child_value("v"), "NaN");
}

TEST(Whole, json_says_the_same) {
    const Rrd rrd = minutes(3, 10);
    const Json doc = Json::parse(whole(rrd, true));
    EXPECT_EQ(doc["lastupdate"], "1700000180");
    EXPECT_EQ(doc["ds"][1]["name"], "cpu0");
    ASSERT_EQ(doc["rra"].size(), 4U);
    EXPECT_EQ(doc["rra"][0]["database"].size(), 120U);
    EXPECT_THAT(doc["rra"][0]["database"].back(), ElementsAre("10", "0.25"));
    EXPECT_EQ(doc["rra"][2]["cdp_prep"]["ds"].size(), 2U);
}

TEST(Whole, an_owner_without_samples_is_an_empty_one) {
    const Json doc = Json::parse(whole(Rrd(), true));
    EXPECT_TRUE(doc["ds"].empty());
    EXPECT_EQ(doc["rra"].size(), 4U);
}

}  // namespace
}  // namespace basalt::metrics
