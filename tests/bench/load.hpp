#pragma once
// Closed loops: each connection sends its next call when the answer to the last one is there.
#include <functional>
#include <vector>

#include "tests/bench/client.hpp"

namespace basalt::bench {

struct Figures {
    double calls_per_second = 0;
    double p50_ms = 0;
    double p99_ms = 0;
    double cpu_us = 0;  ///< of the server, a call
    std::size_t answer_bytes = 0;
};

struct Load {
    Target target;
    pid_t server = 0;
    int connections = 1;
    double seconds = 0.3;
    /// The n-th request; asked for anew each time, so that writes differ.
    std::function<const std::string&(std::size_t n)> request;
};

/// Runs it, with a tenth of the time before that is not counted.
Figures run(const Load& load);
/// A connection of its own for each call, `connections` at a time.
Figures run_connecting(const Load& load);

/// Of what the middle and the slowest hundredth took.
Figures summary(std::vector<double> took_ms, double seconds, double cpu_seconds);

}  // namespace basalt::bench
