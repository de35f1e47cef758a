#pragma once
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent_values.hpp"
#include "base/wait.hpp"
#include "metrics/rrd.hpp"

namespace basalt::agent {

/// Whose figures.
struct MetricsKey {
    MetricsOwner owner = MetricsOwner::host;
    std::string uuid;
    auto operator<=>(const MetricsKey&) const = default;
};

/// Where figures survive hostd, and where they survive the machine. Empty: nowhere, as in
/// simulations.
struct MetricsFolders {
    std::string run;
    std::string state;
};

/// The figures of a host's owners: those that are measured now in memory, the others in files. Loop
/// only; files are read and written on pool threads.
class Keeper {
  public:
    /// Of all owners together; metrics/archive.hpp has the size of one.
    static constexpr std::size_t recorded_max = 50'000;
    static constexpr std::size_t files_max = 4000;  // at rest; the oldest go
    static constexpr std::size_t rounds_between_runs = 12;
    static constexpr std::size_t rounds_between_states = 720;

    Keeper(Loop& loop, MetricsFolders folders) : loop_(loop), folders_(std::move(folders)) {}

    /// Makes the folders, and room in them.
    Task<void> start();

    /// In memory from now on, with what an earlier hostd had recorded.
    Task<void> open(MetricsKey key);
    /// Onto the disk, and out of memory. Idempotent.
    Task<void> close(MetricsKey key);
    /// Closes it and removes its files. Idempotent.
    Task<void> drop(MetricsKey key);
    /// Saves those whose turn it is; once a round.
    Task<void> save_some();
    /// All that is in memory is on the disk, durably.
    Task<void> save_all();

    /// One round of an open owner.
    void update(const MetricsKey& key, double at, std::string_view life,
                std::span<const metrics::Sample> samples, const metrics::Rrd::Describe& describe);
    /// Null: it is not open.
    [[nodiscard]] metrics::Rrd* find(const MetricsKey& key);
    /// Open or not; nullopt: nothing is known of it.
    Task<std::optional<metrics::Rrd>> read(MetricsKey key);
    /// Fills what is unknown of a VM here, open or not.
    Task<void> fill(MetricsKey key, metrics::Rrd past);

    [[nodiscard]] std::vector<MetricsKey> open_keys() const;

    /// Whether owners that are new from now on keep least and greatest figures.
    void set_extremes(bool extremes) { extremes_ = extremes; }

  private:
    [[nodiscard]] std::string path(const std::string& folder, const MetricsKey& key) const;
    Task<std::optional<metrics::Rrd>> load(MetricsKey key);
    Task<void> write(std::vector<std::pair<std::string, std::string>> files, bool durable);

    Loop& loop_;
    MetricsFolders folders_;
    std::map<MetricsKey, metrics::Rrd> open_;
    std::size_t round_ = 0;
    std::size_t recorded_ = 0;  // as counted last
    bool extremes_ = false;
    bool full_told_ = false;
};

}  // namespace basalt::agent
