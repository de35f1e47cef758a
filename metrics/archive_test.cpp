#include "metrics/archive.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace basalt::metrics {
namespace {

constexpr Shape three{3, 4};  // rows of three steps, four of them

TEST(Ring, keeps_the_newest_rows_and_knows_no_others) {
    Ring ring(3);
    EXPECT_LT(ring.newest(), ring.oldest());
    ring.put(10, 1);
    ring.put(12, 3);
    EXPECT_EQ(ring.at(10), 1);
    EXPECT_TRUE(std::isnan(ring.at(11)));
    EXPECT_EQ(ring.at(12), 3);
    ring.put(13, 4);
    EXPECT_TRUE(std::isnan(ring.at(10)));
    EXPECT_EQ(ring.oldest(), 11);
    EXPECT_EQ(ring.at(13), 4);
    EXPECT_TRUE(std::isnan(ring.at(14)));
}

TEST(Ring, forgets_all_after_a_gap_longer_than_itself) {
    Ring ring(3);
    ring.put(10, 1);
    ring.put(1000, 2);
    EXPECT_EQ(ring.oldest(), 1000);
    EXPECT_EQ(ring.at(1000), 2);
    for (std::int64_t row = 1001; row < 1010; ++row)
        ring.put(row, static_cast<double>(row));
    EXPECT_EQ(ring.at(1007), 1007);
    EXPECT_EQ(ring.at(1009), 1009);
    EXPECT_TRUE(std::isnan(ring.at(1006)));
}

TEST(Archive, a_row_is_the_average_of_its_known_steps) {
    Archive archive(Fold::average, three);
    archive.add(0, 1, 1);
    archive.add(1, 2, unknown);
    archive.add(2, 3, 4);
    EXPECT_DOUBLE_EQ(archive.ring().at(1), 2.5);
    archive.add(3, 5, unknown);
    archive.add(5, 6, 7);
    EXPECT_TRUE(std::isnan(archive.ring().at(2))) << "one step of three is too little";
}

TEST(Archive, least_and_greatest) {
    Archive least(Fold::min, three);
    Archive greatest(Fold::max, three);
    for (Archive* archive : {&least, &greatest}) {
        archive->add(0, 1, 5);
        archive->add(1, 2, -2);
        archive->add(2, 3, 3);
    }
    EXPECT_EQ(least.ring().at(1), -2);
    EXPECT_EQ(greatest.ring().at(1), 5);
}

TEST(Archive, many_steps_of_one_value_are_many_rows) {
    Archive archive(Fold::average, three);
    archive.add(1, 11, 6);
    EXPECT_EQ(archive.ring().newest(), 3);
    EXPECT_DOUBLE_EQ(archive.ring().at(1), 6) << "two steps of three are known";
    EXPECT_DOUBLE_EQ(archive.ring().at(3), 6);
    EXPECT_EQ(archive.unfinished(), (Archive::Unfinished{.row = 4, .value = 12, .known = 2}));
}

TEST(Archive, a_gap_of_centuries_takes_no_time) {
    Archive archive(Fold::average, three);
    archive.add(0, 3, 1);
    archive.add(3, 3'000'000'000, unknown);
    archive.add(3'000'000'000, 3'000'000'003, 2);
    EXPECT_EQ(archive.ring().at(1'000'000'001), 2);
    EXPECT_TRUE(std::isnan(archive.ring().at(1'000'000'000)));
}

TEST(Archive, an_earlier_life_fills_what_is_unknown) {
    Archive past(Fold::average, three);
    past.add(0, 7, 1);  // rows 1 and 2, and a step of row 3
    Archive here(Fold::average, three);
    here.add(7, 11, 4);  // two steps of row 3, two of row 4
    here.fill_from(past);
    EXPECT_EQ(here.ring().at(1), 1);
    EXPECT_EQ(here.ring().at(2), 1);
    EXPECT_EQ(here.ring().at(3), 4);
    EXPECT_EQ(here.ring().newest(), 3);
    EXPECT_EQ(here.unfinished().known, 2);
}

TEST(Archive, an_unfinished_row_is_put_together_from_both_lives) {
    Archive past(Fold::average, three);
    past.add(0, 1, 1);
    Archive here(Fold::average, three);
    here.add(1, 2, 4);
    here.fill_from(past);
    here.add(2, 3, 4);
    EXPECT_DOUBLE_EQ(here.ring().at(1), 3);
}

}  // namespace
}  // namespace basalt::metrics
