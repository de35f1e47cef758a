#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/wait.hpp"

namespace basalt::hv {

/// What a disk's device has counted since the domain was made.
struct DiskCounters {
    std::string device;  // xvda
    std::string sr;      // uuid; empty: no medium, or not known
    std::int64_t read_bytes = 0;
    std::int64_t write_bytes = 0;
    std::int64_t reads = 0;  // requests that are done
    std::int64_t writes = 0;
    double read_seconds = 0;  // that the requests took, all together
    double write_seconds = 0;
    bool operator==(const DiskCounters&) const = default;
};

struct NicCounters {
    std::int64_t device = 0;
    std::string tap;  // the interface whose counters the kernel has
    bool operator==(const NicCounters&) const = default;
};

/// One domain as it was at `wall_ns` (since 1970).
struct DomainReading {
    std::string uuid;  // of the VM
    std::int64_t domid = 0;
    std::int64_t wall_ns = 0;
    bool running = false;
    std::vector<double> vcpu_seconds;               // that each processor has run
    std::vector<double> vcpu_waiting_seconds;       // that it wanted to and had to wait; or empty
    std::int64_t memory_bytes = 0;                  // that the guest has now
    std::int64_t memory_target_bytes = 0;           // that it is meant to have
    std::optional<std::int64_t> memory_free_bytes;  // as the guest says
    std::vector<DiskCounters> disks;
    std::vector<NicCounters> nics;
};

/// An ability of a Hypervisor: it tells what its domains use. Loop only. A domain that does not
/// answer at once is left out, or is there without its disks; never throws for one domain's sake.
class Meter {
  public:
    virtual ~Meter() = default;
    virtual Task<std::vector<DomainReading>> measure() = 0;
};

}  // namespace basalt::hv
