#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "host-agent/metrics/gauges.hpp"
#include "host-agent/metrics/keeper.hpp"
#include "host-agent/metrics/sources.hpp"
#include "hypervisor/api/meter.hpp"
#include "hypervisor/api/whole_machine.hpp"
#include "metrics/text.hpp"

namespace basalt::agent {

/// Measures this host, its guests and its storage every five seconds, and answers what is asked of
/// the figures. Loop only.
class Metering {
  public:
    struct Parts {
        Loop& loop;
        /// Null: nothing is measured, as in simulations of many hosts.
        Gauges* gauges = nullptr;
        /// Null: this hypervisor tells nothing of its guests.
        hv::Meter* meter = nullptr;
        /// Not null: it alone sees all of the machine's memory.
        hv::MachineSeer* seer = nullptr;
        MetricsFolders folders{};
        /// Physical interfaces.
        std::function<std::vector<std::string>()> nics;
        /// Told now and then what is in use.
        std::function<void(HostUsage)> tell;
    };

    explicit Metering(Parts parts);

    [[nodiscard]] bool on() const { return parts_.gauges != nullptr; }

    /// First call. `boot_id`: counters of another boot of the host count from elsewhere.
    Task<void> start(std::string host_uuid, std::string boot_id);
    /// One round of measurements; the caller sees to the time between two.
    Task<void> round();
    /// When the next round is due.
    [[nodiscard]] Duration until_next() const;

    /// A storage repository was looked at, or is no longer there.
    void note_sr(const SrInfo& info) { srs_[info.uuid] = info; }

    void forget_sr(const std::string& uuid) { srs_.erase(uuid); }

    // The verbs of the same names; verbs.toml says what they do.
    Task<UniqueFd> updates(MetricsUpdatesArgs args);
    Task<UniqueFd> whole(MetricsWholeArgs args);
    Task<std::vector<MetricsSource>> sources(MetricsSourcesArgs args);
    Task<std::map<std::string, double>> means(MetricsMeansArgs args);
    Task<void> record(MetricsRecordArgs args);
    Task<MetricsPiece> take(MetricsTakeArgs args);
    Task<void> give(MetricsGiveArgs args);
    Task<void> drop(MetricsDropArgs args);
    Task<void> save();

    /// What xapi knows of itself: recorded with the host's own figures for at most a minute.
    void note_told(std::map<std::string, double> values);

    void set_extremes(bool extremes) { keeper_.set_extremes(extremes); }

  private:
    Task<void> close_ended(const std::vector<hv::DomainReading>& domains);
    void tell_usage(const HostReading& host, const std::vector<hv::DomainReading>& domains);
    Task<UniqueFd> written(std::function<void(const metrics::Sink&)> write);

    Parts parts_;
    Keeper keeper_;
    DiskRounds disks_;
    std::map<std::string, SrInfo> srs_;
    std::string host_uuid_;
    std::string boot_id_;
    double latest_ = 0;                   // when the host was last measured
    std::map<std::string, double> told_;  // by xapi
    std::int64_t told_ns_ = 0;
    std::size_t rounds_ = 0;
    ObjectQueue writing_;
    std::uint64_t texts_ = 0;
};

}  // namespace basalt::agent
