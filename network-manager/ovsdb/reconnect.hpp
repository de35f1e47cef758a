#pragma once
#include <algorithm>

#include "base/async.hpp"

namespace basalt::nm::ovsdb {

/// When to try again: a state machine without sockets or clock.
class Reconnect {
  public:
    static constexpr Millis backoff_min{100};
    static constexpr Millis backoff_max{8000};

    explicit Reconnect(Time now) : next_try_(now) {}

    [[nodiscard]] bool due(Time now) const { return now >= next_try_; }

    [[nodiscard]] Time next_try() const { return next_try_; }

    void failed(Time now) {
        next_try_ = now + backoff_;
        backoff_ = std::min(backoff_ * 2, backoff_max);
    }

    void connected() { backoff_ = backoff_min; }

  private:
    Time next_try_;
    Millis backoff_ = backoff_min;
};

}  // namespace basalt::nm::ovsdb
