#pragma once
#include <map>
#include <string>

#include "base/loop.hpp"
#include "base/turn.hpp"
#include "xapi/rpc/metrics.hpp"

namespace basalt {
class RealLoop;
}

namespace basalt::server {

/// Measures how late the loop runs what is due, as a histogram. Runs until cancelled.
Task<void> watch_loop(Loop& loop, Metrics& metrics);

/// The watchdog of turns: a histogram of all (xapi_loop_turn_seconds), a count of those that worked
/// for more than a millisecond by the job that they belonged to (xapi_loop_long_turns_total), and
/// now and then a line about such a one. Loop only.
class TurnWatch {
  public:
    static constexpr Duration long_turn = 1ms;
    static constexpr Duration line_interval = 10s;  ///< between two lines about one job

    explicit TurnWatch(Metrics& metrics);

    /// Reports of that loop's turns come here from now on; it must not outlive this.
    void attach(RealLoop& loop);
    void take(const turn::Report& report, Time now);

  private:
    Metrics& metrics_;
    Metrics::Histogram& turns_;
    std::map<std::string, Time> told_;
};

}  // namespace basalt::server
