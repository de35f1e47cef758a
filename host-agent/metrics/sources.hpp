#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host-agent/metrics/gauges.hpp"
#include "hypervisor/api/meter.hpp"
#include "metrics/rrd.hpp"

/// From readings to the sources that clients know by name. Pure.
namespace basalt::agent {

/// What a source of that name means: its unit, kind and bounds.
metrics::SourceInfo describe_host_source(std::string_view name);
metrics::SourceInfo describe_vm_source(std::string_view name);
metrics::SourceInfo describe_sr_source(std::string_view name);

/// What disks did since the round before, and in all rounds so far by storage repository.
class DiskRounds {
  public:
    /// What was counted between two rounds, or since the beginning.
    struct Count {
        double read_bytes = 0;
        double write_bytes = 0;
        double reads = 0;
        double writes = 0;
        double read_seconds = 0;
        double write_seconds = 0;
    };

    /// A round of all domains that were read. Those that were not are as new in the next one.
    void note(const std::vector<hv::DomainReading>& domains);

    /// Since the round before; null: it is new.
    [[nodiscard]] const Count* since(const std::string& vm, const std::string& device) const;

    /// By uuid of the SR: all rounds, and the last one.
    struct SrCount {
        Count total;
        Count last;
    };

    [[nodiscard]] const std::map<std::string, SrCount>& srs() const { return srs_; }

  private:
    struct Known {
        std::int64_t domid = 0;
        hv::DiskCounters counters;
        std::optional<Count> grown;
    };

    using Key = std::pair<std::string, std::string>;  // VM, device
    void keep_silent(const hv::DomainReading& domain, std::map<Key, Known>& now) const;

    std::map<Key, Known> disks_;
    std::map<std::string, SrCount> srs_;
};

std::vector<metrics::Sample> host_samples(const HostReading& host,
                                          const std::vector<hv::DomainReading>& domains,
                                          const std::vector<std::string>& nics,
                                          const DiskRounds& disks);
std::vector<metrics::Sample> vm_samples(const hv::DomainReading& domain, const HostReading& host,
                                        const DiskRounds& disks);
std::vector<metrics::Sample> sr_samples(std::int64_t size_bytes, std::int64_t used_bytes);

}  // namespace basalt::agent
