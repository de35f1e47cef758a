#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/wait.hpp"

namespace basalt::agent {

/// What the kernel has counted at an interface, as seen from the host.
struct LinkCounters {
    std::int64_t rx_bytes = 0;
    std::int64_t tx_bytes = 0;
    std::int64_t rx_errors = 0;
    std::int64_t tx_errors = 0;
    bool operator==(const LinkCounters&) const = default;
};

/// A host as it was at `wall_ns` (since 1970).
struct HostReading {
    std::int64_t wall_ns = 0;
    std::vector<double> cpu_busy_seconds;  // by number; since the boot
    std::vector<double> cpu_mhz;           // by number, 0: not known; empty: of none
    /// By number of the processor, then of the sleep state as the kernel counts them; since the
    /// boot. Empty where the kernel does not choose them itself.
    std::vector<std::vector<double>> cpu_sleep_seconds;
    double load_average = 0;  // of the last minute
    std::int64_t memory_total_kib = 0;
    std::int64_t memory_free_kib = 0;  // that could be handed out
    std::map<std::string, LinkCounters> links;
};

/// Where a host's own figures are read from.
class Gauges {
  public:
    virtual ~Gauges() = default;
    /// `links`: the interfaces that are asked about; those that are not there are left out.
    virtual Task<HostReading> read(std::vector<std::string> links) = 0;
};

/// The kernel's, from files under `proc` and `sys`.
class ProcGauges final : public Gauges {
  public:
    explicit ProcGauges(Loop& loop, std::string proc = "/proc", std::string sys = "/sys")
        : loop_(loop), proc_(std::move(proc)), sys_(std::move(sys)) {}

    Task<HostReading> read(std::vector<std::string> links) override;

  private:
    Loop& loop_;
    std::string proc_;
    std::string sys_;
};

/// The same, on the calling thread; `wall_ns` stays 0. What cannot be read is empty or zero.
HostReading read_proc(const std::string& proc, const std::vector<std::string>& links);
/// How fast the processors of `out` run and how long they slept, into it.
void read_processors(const std::string& sys, HostReading& out);

/// Of a simulated host: figures that follow from the time alone. Processor n is busy a tenth of the
/// time for n = 0, two tenths for n = 1 ... up to nine; each interface receives 1,000,000 bytes a
/// second and sends half as many; a quarter of the memory is free.
class SimGauges final : public Gauges {
  public:
    SimGauges(Loop& loop, std::int64_t cpu_count, std::int64_t memory_total_bytes)
        : loop_(loop), cpu_count_(cpu_count), memory_total_bytes_(memory_total_bytes) {}

    Task<HostReading> read(std::vector<std::string> links) override;

  private:
    Loop& loop_;
    std::int64_t cpu_count_;
    std::int64_t memory_total_bytes_;
};

}  // namespace basalt::agent
