#include "storage-manager/datapath/changes.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/json.hpp"

namespace basalt::sm {
namespace {

Attachment chain(std::vector<std::string> paths) {
    Attachment out;
    for (std::string& path : paths)
        out.chain.push_back({std::move(path), "qcow2"});
    return out;
}

TEST(Changes, lie_above_the_first_common_image) {
    const auto disk =
        layers_above_common(chain({"leaf", "parent", "base"}), chain({"snap", "base"}));
    EXPECT_EQ(disk.one, 2U);
    EXPECT_EQ(disk.other, 1U);
    const auto strangers = layers_above_common(chain({"a", "b"}), chain({"c"}));
    EXPECT_EQ(strangers.one, 2U);
    EXPECT_EQ(strangers.other, 1U);
    const auto parent = layers_above_common(chain({"leaf", "snap"}), chain({"snap"}));
    EXPECT_EQ(parent.one, 1U);
    EXPECT_EQ(parent.other, 0U);
}

TEST(Changes, are_what_the_upper_images_hold_zeros_too) {
    const Json map = Json::parse(R"([
        {"start": 0, "length": 10, "depth": 0, "present": true, "zero": false, "data": true},
        {"start": 10, "length": 10, "depth": 1, "present": true, "zero": false, "data": true},
        {"start": 20, "length": 5, "depth": 0, "present": true, "zero": true, "data": false},
        {"start": 25, "length": 75, "depth": 1, "present": false, "zero": true, "data": false}])");
    EXPECT_EQ(held_above(map, 1), (std::vector<Extent>{{0, 10}, {20, 5}}));
    EXPECT_EQ(held_above(map, 2), (std::vector<Extent>{{0, 10}, {10, 10}, {20, 5}}));
    EXPECT_TRUE(held_above(map, 0).empty());
    EXPECT_THROW(held_above(Json::object(), 1), ApiError);
}

TEST(Changes, of_two_disks_are_joined_and_cut) {
    EXPECT_EQ(joined({{0, 10}, {50, 100}}, {{10, 5}, {20, 4}, {40, 20}}, 100),
              (std::vector<Extent>{{0, 15}, {20, 4}, {40, 60}}));
    EXPECT_TRUE(joined({{100, 1}}, {}, 100).empty());
    EXPECT_EQ(extent_lines({{0, 15}, {20, 4}}), "0 15\n20 4\n");
}

TEST(Changes, are_a_bit_a_block) {
    constexpr std::uint64_t block = 65536;
    EXPECT_EQ(block_bits({}, 0, 8 * block), "00");
    EXPECT_EQ(block_bits({{0, 1}, {2 * block + 5, block}}, 0, 9 * block), "b000");
    EXPECT_EQ(block_bits({{0, 100 * block}}, 8 * block, 3 * block), "e0");
    EXPECT_EQ(block_bits({{10 * block - 1, 2}}, 8 * block, 8 * block), "60");
}

}  // namespace
}  // namespace basalt::sm
