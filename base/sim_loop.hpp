#pragma once
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <deque>
#include <map>
#include <random>

#include "base/loop.hpp"

namespace basalt {

/// A loop under virtual time: nothing waits, the seed decides the order of what is ready.
/// The same seed runs the same steps, which `history()` proves.
class SimLoop final : public Loop, public asio::execution_context {
  public:
    /// Fits any_io_executor, so that Task<T> is the same type on both loops.
    struct Executor {
        SimLoop* loop;

        template <class F>
        void execute(F work) const {
            loop->post(std::move(work));
        }

        SimLoop& query(asio::execution::context_t) const noexcept { return *loop; }

        static constexpr auto query(asio::execution::blocking_t) noexcept {
            return asio::execution::blocking.never;
        }

        [[nodiscard]] Executor require(asio::execution::blocking_t::never_t) const { return *this; }

        bool operator==(const Executor&) const = default;
    };

    explicit SimLoop(std::uint64_t seed);
    ~SimLoop() override;

    [[nodiscard]] Time now() const override { return now_; }

    [[nodiscard]] std::int64_t wall_ns() const override;

    [[nodiscard]] std::uint64_t random() override { return random_(); }

    [[nodiscard]] asio::any_io_executor executor() override;
    void post(Work work) override;
    TimerId at(Time when, Work work) override;
    void cancel(TimerId timer) override;
    /// Runs both inline after a seeded virtual delay of at most 2 ms.
    void offload(Work work, Work done) override;

    /// One piece of work; false when nothing is ready and no timer is set.
    bool step();
    /// Steps until nothing is left or virtual `limit` has passed. Returns whether it became
    /// quiescent.
    bool run_for(Duration limit);
    /// Steps until `done()` holds; false when quiescent or `limit` passed before.
    bool run_until(const std::function<bool()>& done, Duration limit);

    /// A hash over every step taken: equal for equal seeds.
    [[nodiscard]] std::uint64_t history() const { return history_; }

  private:
    struct Ready {
        std::uint64_t sequence;
        Work work;
    };

    Time now_{};
    std::uint64_t sequence_ = 0;
    std::uint64_t history_ = 0xcbf29ce484222325ULL;
    std::mt19937_64 random_;
    std::deque<Ready> ready_;
    std::map<std::pair<Time, TimerId>, Work> timers_;
    std::map<TimerId, Time> timer_times_;
};

}  // namespace basalt
