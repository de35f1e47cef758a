#include "base/sim_loop.hpp"

#include <algorithm>

namespace basalt {

namespace {
// Virtual wall clocks start on a fixed day, so that records made in a simulation are the same each
// time.
constexpr std::int64_t epoch_ns = 1'767'225'600'000'000'000;  // 2026-01-01 00:00 UTC
}  // namespace

SimLoop::SimLoop(std::uint64_t seed) : random_(seed) {}

SimLoop::~SimLoop() {
    // Frames die before the services that they may still use.
    ready_.clear();
    timers_.clear();
    shutdown();
    destroy();
}

std::int64_t SimLoop::wall_ns() const {
    return epoch_ns + now_.time_since_epoch().count();
}

asio::any_io_executor SimLoop::executor() {
    return Executor{this};
}

void SimLoop::post(Work work) {
    ready_.push_back({++sequence_, std::move(work)});
}

Loop::TimerId SimLoop::at(Time when, Work work) {
    const TimerId timer = ++sequence_;
    const Time due = std::max(when, now_);
    timers_.emplace(std::pair{due, timer}, std::move(work));
    timer_times_.emplace(timer, due);
    return timer;
}

void SimLoop::cancel(TimerId timer) {
    const auto found = timer_times_.find(timer);
    if (found == timer_times_.end()) return;
    timers_.erase({found->second, timer});
    timer_times_.erase(found);
}

void SimLoop::offload(Work work, Work done) {
    const Duration delay{static_cast<std::int64_t>(random_() % 2'000'000)};
    at(now_ + delay, [work = std::move(work), done = std::move(done)]() mutable {
        work();
        done();
    });
}

bool SimLoop::step() {
    if (ready_.empty()) {
        if (timers_.empty()) return false;
        auto node = timers_.extract(timers_.begin());
        now_ = node.key().first;
        timer_times_.erase(node.key().second);
        ready_.push_back({node.key().second, std::move(node.mapped())});
    }
    std::swap(ready_[random_() % ready_.size()], ready_.front());
    Ready next = std::move(ready_.front());
    ready_.pop_front();
    history_ = (history_ ^ next.sequence) * 0x100000001b3ULL;
    history_ =
        (history_ ^ static_cast<std::uint64_t>(now_.time_since_epoch().count())) * 0x100000001b3ULL;
    next.work();
    return true;
}

bool SimLoop::run_for(Duration limit) {
    const Time end = now_ + limit;
    while (now_ <= end) {
        if (ready_.empty() && !timers_.empty() && timers_.begin()->first.first > end) return false;
        if (!step()) return true;
    }
    return false;
}

bool SimLoop::run_until(const std::function<bool()>& done, Duration limit) {
    const Time end = now_ + limit;
    while (!done()) {
        if (now_ > end || !step()) return done();
    }
    return true;
}

}  // namespace basalt
