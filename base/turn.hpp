#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/async.hpp"

/// What a loop's thread is doing in the present turn, for the watchdog of long ones. Every wait of
/// a coroutine (base/wait, base/real_net) notes on its return whose coroutine goes on.
namespace basalt::turn {

using JobName = std::shared_ptr<const std::string>;

/// The job whose coroutine runs on this thread; null: none.
[[nodiscard]] const JobName& job();
/// From here on the turn belongs to that job. The first call in a turn also notes when it began.
void belongs_to(JobName job);
/// The turn has begun with something that is no coroutine.
void begun();

/// Stands in a coroutine around a wait: what goes on after it is the same job as before.
class Kept {
  public:
    Kept() : job_(job()) {}

    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    ~Kept() { belongs_to(std::move(job_)); }

  private:
    JobName job_;
};

/// One turn of a real loop.
struct Report {
    JobName job;        ///< the last one that it belonged to; may be null
    Duration took{};    ///< by the clock: what others waited
    Duration worked{};  ///< of that, on a processor: the rest was other processes' doing
};

/// For the loop itself. Times are noted only between `watch(true)` and `watch(false)`.
void watch(bool on);
void reset();
/// Nothing when no work was noted since `reset`.
[[nodiscard]] std::optional<Report> finished();

}  // namespace basalt::turn
