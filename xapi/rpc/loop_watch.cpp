#include "xapi/rpc/loop_watch.hpp"

#include "base/log.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::server {

namespace {

constexpr Duration probe_interval = 100ms;
constexpr Duration late_worth_a_line = 250ms;

std::int64_t microseconds(Duration time) {
    return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

}  // namespace

Task<void> watch_loop(Loop& loop, Metrics& metrics) {
    Metrics::Histogram& lateness = metrics.histogram("xapi_loop_late_seconds");
    for (;;) {
        const Time due = loop.now() + probe_interval;
        co_await sleep_for(loop, probe_interval);
        const Duration late = loop.now() - due;
        lateness.observe(late);
        if (late > late_worth_a_line) log::warn("loop_late", {{"ms", microseconds(late) / 1000}});
    }
}

TurnWatch::TurnWatch(Metrics& metrics)
    : metrics_(metrics), turns_(metrics.histogram("xapi_loop_turn_seconds")) {}

void TurnWatch::attach(RealLoop& loop) {
    loop.on_turn([this, &loop](const turn::Report& report) { take(report, loop.now()); });
}

void TurnWatch::take(const turn::Report& report, Time now) {
    turns_.observe(report.took);
    // A turn that was long because the processor was elsewhere is not the fault of its job.
    if (report.worked <= long_turn) return;
    const std::string job = report.job ? *report.job : "timer";
    metrics_.count("xapi_loop_long_turns_total", {{"job", job}});
    const auto [told, first] = told_.try_emplace(job, now);
    if (!first && now - told->second < line_interval) return;
    told->second = now;
    log::warn("loop_turn_long", {{"job", job},
                                 {"us", microseconds(report.took)},
                                 {"worked_us", microseconds(report.worked)}});
}

}  // namespace basalt::server
