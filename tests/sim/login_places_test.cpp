// Places at which passwords are checked: a free one is never idle while somebody waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/sim_loop.hpp"
#include "xapi/domain/login_places.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;

class LoginPlaces : public ::testing::Test {
  protected:
    /// Somebody who comes now, and whose check takes so long.
    std::shared_ptr<Job> come(int who, Duration takes, std::int64_t places = 2) {
        auto job = spawn(loop_, "login", check(who, takes, places));
        loop_.run_for(1ms);
        return job;
    }

    Task<void> check(int who, Duration takes, std::int64_t places) {
        const auto place = co_await places_.hold(places);
        began_.push_back(who);
        co_await sleep_for(loop_, takes);
    }

    SimLoop loop_{1};
    domain::LoginPlaces places_{loop_};
    std::vector<int> began_;
};

TEST_F(LoginPlaces, are_taken_as_soon_as_they_are_free) {
    const std::vector<std::shared_ptr<Job>> jobs = {come(1, 60s), come(2, 1s), come(3, 1s),
                                                    come(4, 1s)};
    loop_.run_for(500ms);
    EXPECT_THAT(began_, ElementsAre(1, 2));
    EXPECT_EQ(places_.waiting(), 2U);
    // The first one's check takes long; the others go on beside it.
    loop_.run_for(3s);
    EXPECT_THAT(began_, ElementsAre(1, 2, 3, 4));
    loop_.run_for(1s);
    EXPECT_EQ(places_.used(), 1);
    loop_.run_for(60s);
    EXPECT_EQ(places_.used(), 0);
}

TEST_F(LoginPlaces, are_kept_by_order_although_somebody_leaves) {
    const auto first = come(1, 10s, 1);
    const auto second = come(2, 1s, 1);
    const auto third = come(3, 1s, 1);
    loop_.run_for(1s);
    second->cancel();
    loop_.run_for(1s);
    EXPECT_EQ(places_.waiting(), 1U);
    first->cancel();
    loop_.run_for(2s);
    EXPECT_THAT(began_, ElementsAre(1, 3));
    EXPECT_EQ(places_.used(), 0);
    EXPECT_TRUE(third->finished());
}

TEST_F(LoginPlaces, may_become_more_and_fewer) {
    const auto first = come(1, 2s, 1);
    const auto second = come(2, 2s, 3);  // the setting was raised meanwhile
    const auto third = come(3, 2s, 0);   // and set to what makes no sense
    loop_.run_for(1s);
    EXPECT_THAT(began_, ElementsAre(1, 2));
    loop_.run_for(10s);
    EXPECT_THAT(began_, ElementsAre(1, 2, 3));
    EXPECT_TRUE(third->finished());
}

}  // namespace
}  // namespace basalt::testing
