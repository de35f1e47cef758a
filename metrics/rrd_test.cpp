#include "metrics/rrd.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <stdexcept>

#include "metrics/codec.hpp"

namespace basalt::metrics {
namespace {

constexpr std::size_t plenty = 1000;
constexpr double day = 1'700'000'000;  // on the grid of steps
constexpr std::int64_t day_step = 340'000'000;

SourceInfo describe(std::string_view name) {
    SourceInfo info{.name = std::string(name), .description = "of the test", .units = "B"};
    if (name.starts_with("counter")) {
        info.kind = Kind::derive;
        info.min = 0;
    }
    if (name.starts_with("share")) {
        info.kind = Kind::derive;
        info.min = 0;
        info.max = 1;
    }
    if (name.starts_with("delta")) info.kind = Kind::absolute;
    if (name.ends_with("_more")) info.standard = false;
    return info;
}

void round(Rrd& rrd, double at, std::vector<Sample> samples) {
    EXPECT_EQ(rrd.update(at, samples, describe, plenty), 0U);
}

double row(const Rrd& rrd, std::string_view name, std::int64_t step) {
    return rrd.find(name)->archives.front().ring().at(step);
}

TEST(Rrd, a_counter_becomes_a_rate) {
    Rrd rrd;
    round(rrd, day, {{"counter", 100}});
    EXPECT_TRUE(std::isnan(rrd.find("counter")->value));
    round(rrd, day + 5, {{"counter", 150}});
    EXPECT_DOUBLE_EQ(rrd.find("counter")->value, 10);
    EXPECT_DOUBLE_EQ(row(rrd, "counter", day_step + 1), 10);
}

TEST(Rrd, a_round_between_two_steps_counts_for_both_by_its_time) {
    Rrd rrd;
    round(rrd, day, {{"gauge", 1}});
    round(rrd, day + 4, {{"gauge", 10}});
    round(rrd, day + 6, {{"gauge", 20}});
    EXPECT_DOUBLE_EQ(row(rrd, "gauge", day_step + 1), (4 * 10 + 1 * 20) / 5.0);
    round(rrd, day + 10, {{"gauge", 20}});
    EXPECT_DOUBLE_EQ(row(rrd, "gauge", day_step + 2), 20);
}

TEST(Rrd, a_late_round_says_what_the_counter_did_in_between) {
    Rrd rrd;
    round(rrd, day, {{"counter", 0}});
    round(rrd, day + 100, {{"counter", 200}});
    for (std::int64_t step = 1; step <= 20; ++step)
        EXPECT_DOUBLE_EQ(row(rrd, "counter", day_step + step), 2);
    round(rrd, day + 100 + heartbeat_seconds + 5, {{"counter", 500}});
    EXPECT_TRUE(std::isnan(row(rrd, "counter", day_step + 30)));
    EXPECT_TRUE(std::isnan(rrd.find("counter")->value));
}

TEST(Rrd, a_counter_that_fell_and_one_of_another_life_say_nothing) {
    Rrd rrd;
    rrd.begin_life("a");
    round(rrd, day, {{"counter", 100}});
    round(rrd, day + 5, {{"counter", 50}});
    EXPECT_TRUE(std::isnan(row(rrd, "counter", day_step + 1)));
    rrd.begin_life("b");
    round(rrd, day + 10, {{"counter", 5000}});
    EXPECT_TRUE(std::isnan(row(rrd, "counter", day_step + 2)));
    rrd.begin_life("b");
    round(rrd, day + 15, {{"counter", 5010}});
    EXPECT_DOUBLE_EQ(row(rrd, "counter", day_step + 3), 2);
}

TEST(Rrd, a_share_a_little_over_one_is_one) {
    Rrd rrd;
    round(rrd, day, {{"share", 0}});
    round(rrd, day + 5, {{"share", 5.01}});
    EXPECT_EQ(row(rrd, "share", day_step + 1), 1);
    round(rrd, day + 10, {{"share", 15}});
    EXPECT_TRUE(std::isnan(row(rrd, "share", day_step + 2)));
}

TEST(Rrd, an_absolute_number_is_spread_over_its_round) {
    Rrd rrd;
    round(rrd, day, {{"delta", 3}});
    round(rrd, day + 5, {{"delta", 20}});
    EXPECT_DOUBLE_EQ(row(rrd, "delta", day_step + 1), 4);
}

TEST(Rrd, a_source_that_is_silent_is_unknown_and_comes_back) {
    Rrd rrd;
    round(rrd, day, {{"counter", 0}, {"gauge", 7}});
    round(rrd, day + 5, {{"counter", 10}, {"gauge", 7}});
    round(rrd, day + 10, {{"gauge", 7}});
    EXPECT_TRUE(std::isnan(row(rrd, "counter", day_step + 2)));
    EXPECT_EQ(row(rrd, "gauge", day_step + 2), 7);
    round(rrd, day + 15, {{"counter", 30}, {"gauge", 7}});
    EXPECT_DOUBLE_EQ(row(rrd, "counter", day_step + 3), 2);
}

TEST(Rrd, what_is_not_standard_is_recorded_when_asked) {
    Rrd rrd;
    round(rrd, day, {{"gauge_more", 1}});
    EXPECT_FALSE(rrd.find("gauge_more")->recorded());
    EXPECT_EQ(rrd.find("gauge_more")->value, 1);
    EXPECT_TRUE(rrd.record("gauge_more"));
    round(rrd, day + 5, {{"gauge_more", 2}});
    EXPECT_EQ(row(rrd, "gauge_more", day_step + 1), 2);
    EXPECT_TRUE(rrd.forget("gauge_more"));
    EXPECT_FALSE(rrd.find("gauge_more")->recorded());
    EXPECT_FALSE(rrd.record("nothing"));
    EXPECT_FALSE(rrd.forget("nothing"));
    round(rrd, day + 10, {{"gauge_more", 3}});
    EXPECT_FALSE(rrd.find("gauge_more")->recorded()) << "it is not new any more";
}

TEST(Rrd, more_than_there_is_room_for_is_measured_and_not_recorded) {
    Rrd rrd;
    const std::vector<Sample> three = {{"gauge_a", 1}, {"gauge_b", 2}, {"gauge_c", 3}};
    EXPECT_EQ(rrd.update(day, three, describe, 2), 1U);
    EXPECT_EQ(rrd.recorded_count(), 2U);
    EXPECT_EQ(rrd.find("gauge_c")->value, 3);
}

TEST(Rrd, the_longest_unseen_source_makes_room) {
    Rrd rrd;
    std::vector<Sample> many;
    for (std::size_t i = 0; i < sources_max; ++i)
        many.push_back({"gauge_" + std::to_string(i) + "_more", 1});
    round(rrd, day, many);
    many.erase(many.begin() + 7);
    round(rrd, day + 5, many);
    round(rrd, day + 10, {{"gauge_new", 1}});
    EXPECT_EQ(rrd.sources().size(), sources_max);
    EXPECT_EQ(rrd.find("gauge_7_more"), nullptr);
    EXPECT_NE(rrd.find("gauge_new"), nullptr);
}

TEST(Rrd, a_clock_set_back_for_good_begins_anew) {
    Rrd rrd;
    round(rrd, day, {{"gauge", 1}});
    round(rrd, day - 10, {{"gauge", 2}});
    EXPECT_EQ(rrd.updated(), day);
    round(rrd, day - 200'000, {{"gauge", 2}});
    EXPECT_EQ(rrd.updated(), day - 200'000);
}

TEST(Rrd, extremes_are_kept_beside_the_averages) {
    Rrd rrd(true);
    for (int i = 0; i <= 24; ++i)
        round(rrd, day + 5 * i, {{"gauge", i % 2 == 0 ? 1.0 : 9.0}});
    std::map<Fold, double> minute;
    for (const Archive& archive : rrd.find("gauge")->archives)
        if (archive.shape().steps == 12)
            minute[archive.fold()] = archive.ring().at(day_step / 12 + 2);
    EXPECT_DOUBLE_EQ(minute[Fold::average], 5);
    EXPECT_EQ(minute[Fold::min], 1);
    EXPECT_EQ(minute[Fold::max], 9);
}

Rrd an_hour() {
    Rrd rrd;
    rrd.begin_life("boot/3");
    for (int i = 0; i < 720; ++i)
        round(rrd, day + 5.1 * i, {{"counter", i * 10.0}, {"gauge", i * 0.1}, {"gauge_more", 1}});
    return rrd;
}

TEST(Codec, what_is_written_is_read_again) {
    const Rrd before = an_hour();
    Rrd after = decode(encode(before));
    EXPECT_EQ(after.updated(), before.updated());
    ASSERT_EQ(after.sources().size(), before.sources().size());
    for (std::size_t i = 0; i < before.sources().size(); ++i) {
        EXPECT_EQ(after.sources()[i].info, before.sources()[i].info);
        EXPECT_EQ(after.sources()[i].archives, before.sources()[i].archives);
        EXPECT_EQ(after.sources()[i].step_sum, before.sources()[i].step_sum);
    }
    // A restart is no gap: the counter goes on as if nothing had been.
    after.begin_life("boot/3");
    round(after, before.updated() + 60, {{"counter", 7190 + 120}});
    EXPECT_DOUBLE_EQ(after.find("counter")->value, 2);
}

TEST(Codec, it_is_read_in_pieces_too) {
    const Rrd whole = an_hour();
    Rrd put_together;
    std::size_t first = 0;
    int pieces = 0;
    do {
        std::size_t next = 0;
        put_together.fill_from(decode(encode_some(whole, first, 100, next)));
        first = next;
        ++pieces;
    } while (first != 0);
    EXPECT_EQ(pieces, 3);
    EXPECT_EQ(put_together.updated(), whole.updated());
    EXPECT_EQ(put_together.find("counter")->archives, whole.find("counter")->archives);
    EXPECT_FALSE(put_together.find("gauge_more")->recorded());
}

TEST(Rrd, the_mean_of_the_newest_seconds) {
    Rrd rrd;
    const auto gauge = [](std::string_view) { return SourceInfo{}; };
    for (int step = 0; step <= 240; ++step) {
        const std::vector<Sample> samples = {{"level", step <= 228 ? 1.0 : 3.0}};
        rrd.update(1'000'020 + 5 * step, samples, gauge, 10);
    }
    const Source& source = *rrd.find("level");
    EXPECT_DOUBLE_EQ(*mean_of(source, rrd.updated(), 60), 3);
    EXPECT_NEAR(*mean_of(source, rrd.updated(), 120), 2, 1e-9);
    // Further back than steps are kept: by minutes.
    EXPECT_NEAR(*mean_of(source, rrd.updated(), 1200), 1.1, 0.02);
    EXPECT_FALSE(mean_of(source, rrd.updated() + 4000, 60)) << "nothing is known of that time";
    rrd.forget("level");
    EXPECT_FALSE(mean_of(*rrd.find("level"), rrd.updated(), 60));
}

TEST(Codec, what_it_did_not_write_is_refused) {
    const std::string good = encode(an_hour());
    for (std::size_t at = 0; at < good.size(); at += 97) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 0x20);
        EXPECT_THROW((void)decode(bad), std::runtime_error) << at;
    }
    EXPECT_THROW((void)decode(std::string_view(good).substr(0, good.size() / 2)),
                 std::runtime_error);
    EXPECT_THROW((void)decode(""), std::runtime_error);
}

}  // namespace
}  // namespace basalt::metrics
