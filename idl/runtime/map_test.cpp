#include "idl/runtime/map.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace basalt::xenapi {

namespace {

using Texts = Map<std::string, std::string>;

TEST(Map, iterates_in_key_order) {
    const Texts map{{"b", "2"}, {"a", "1"}, {"b", "3"}};
    EXPECT_THAT(map, testing::ElementsAre(testing::Pair("a", "1"), testing::Pair("b", "3")));
}

TEST(Map, finds_by_anything_comparable) {
    const Texts map{{"a", "1"}};
    EXPECT_TRUE(map.contains(std::string_view("a")));
    EXPECT_EQ(map.at("a"), "1");
    EXPECT_EQ(map.get("z", "none"), "none");
    EXPECT_THROW((void)map.at("z"), std::out_of_range);
}

TEST(Map, emplace_keeps_and_assign_replaces) {
    Texts map;
    EXPECT_TRUE(map.emplace("a", "1").second);
    EXPECT_FALSE(map.emplace("a", "2").second);
    EXPECT_EQ(map["a"], "1");
    map.insert_or_assign("a", "3");
    map["b"] = "4";
    EXPECT_EQ(map, (Texts{{"a", "3"}, {"b", "4"}}));
    EXPECT_EQ(map.erase("a"), 1U);
    EXPECT_EQ(map.erase("a"), 0U);
}

}  // namespace

}  // namespace basalt::xenapi
