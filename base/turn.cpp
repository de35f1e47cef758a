#include "base/turn.hpp"

#include <algorithm>
#include <ctime>

namespace basalt::turn {

namespace {

struct Now {
    JobName job;
    bool watched = false;
    bool begun = false;
    Time began{};
    // A time at which the thread's own clock was read, and how long turns have taken since.
    Time marked{};
    Duration worked_at_mark{};
    Duration took_since_mark{};
};

// How old a mark may be: to read the thread's clock is a system call, not for every turn.
constexpr Duration mark_age_max = std::chrono::microseconds(100);
constexpr Duration worth_a_look = std::chrono::microseconds(500);

Now& now() {
    thread_local Now state;
    return state;
}

Duration worked_by_thread() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

const JobName& job() {
    return now().job;
}

void begun() {
    Now& state = now();
    if (!state.watched || state.begun) return;
    state.begun = true;
    state.began = std::chrono::steady_clock::now();
    if (state.began - state.marked < mark_age_max) return;
    state.marked = state.began;
    state.worked_at_mark = worked_by_thread();
    state.took_since_mark = Duration::zero();
}

void belongs_to(JobName job) {
    begun();
    now().job = std::move(job);
}

void watch(bool on) {
    now().watched = on;
}

void reset() {
    Now& state = now();
    state.begun = false;
    state.job.reset();
}

std::optional<Report> finished() {
    Now& state = now();
    if (!state.begun) return std::nullopt;
    Report report{.job = std::move(state.job),
                  .took = std::chrono::steady_clock::now() - state.began};
    // The second figure matters for long turns only. It may miss a few microseconds between turns.
    if (report.took > worth_a_look)
        report.worked =
            std::clamp(worked_by_thread() - state.worked_at_mark - state.took_since_mark,
                       Duration::zero(), report.took);
    state.took_since_mark += report.took;
    return report;
}

}  // namespace basalt::turn
