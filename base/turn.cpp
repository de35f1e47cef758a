#include "base/turn.hpp"

#include <ctime>

namespace basalt::turn {

namespace {

struct Now {
    JobName job;
    bool watched = false;
    bool begun = false;
    Time began{};
    Duration worked_before{};
};

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
    state.worked_before = worked_by_thread();
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
    // The second figure costs a system call and matters for long turns only.
    if (report.took > std::chrono::microseconds(500))
        report.worked = worked_by_thread() - state.worked_before;
    return report;
}

}  // namespace basalt::turn
