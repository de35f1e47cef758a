#pragma once
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/archive.hpp"

namespace basalt::metrics {

/// What a sampled number means. gauge: the figure itself. absolute: how much since the last sample.
/// derive: a counter, whose growth a second is the figure.
enum class Kind : std::uint8_t { gauge, absolute, derive };

/// GAUGE, ABSOLUTE, DERIVE: as clients write them.
[[nodiscard]] std::string_view text(Kind kind);

/// A counter that was not looked at for longer says nothing about the time between.
inline constexpr double heartbeat_seconds = 300;
/// Of one owner. The one that has not been seen for the longest time makes room.
inline constexpr std::size_t sources_max = 2000;

struct SourceInfo {
    std::string name;
    std::string description;
    std::string units;
    Kind kind = Kind::gauge;
    /// Figures outside are unknown; one that is a little too great, because clocks and counters are
    /// not read in one moment, counts as the greatest.
    double min = -std::numeric_limits<double>::infinity();
    double max = std::numeric_limits<double>::infinity();
    bool standard = true;  ///< recorded unless told otherwise
    bool operator==(const SourceInfo&) const = default;
};

struct Sample {
    std::string name;
    double value = unknown;
};

struct Source {
    SourceInfo info;
    double sampled = unknown;  ///< the last number as it was read
    double sampled_at = 0;     ///< when; seconds since 1970
    double value = unknown;    ///< the figure that it gave
    // Of the step that is not over yet.
    double step_sum = 0;    ///< figure times seconds
    double step_known = 0;  ///< seconds
    /// Empty: it is not recorded.
    std::vector<Archive> archives{};

    [[nodiscard]] bool recorded() const { return !archives.empty(); }
};

/// The figures of one owner (a host, a VM, a storage repository) over time. Pure: no clock, no
/// file.
class Rrd {
  public:
    /// What a source of that name is; for those that were not seen before.
    using Describe = std::function<SourceInfo(std::string_view name)>;

    /// `extremes`: new sources keep the least and the greatest figures too, not only the averages.
    explicit Rrd(bool extremes = false) : extremes_(extremes) {}

    /// One round of samples, all read at `at` (seconds since 1970). A source without one is unknown
    /// since the last round. At most `room` new sources begin to be recorded; returns how many did
    /// not find room. A round that is not later than the last one is passed over.
    std::size_t update(double at, std::span<const Sample> samples, const Describe& describe,
                       std::size_t room);

    /// Counters of another life (a boot of the host, a start of the VM) count from elsewhere: what
    /// they grew by in between is unknown.
    void begin_life(std::string_view life);

    [[nodiscard]] const std::string& life() const { return life_; }

    /// Null: there is none.
    [[nodiscard]] const Source* find(std::string_view name) const;

    [[nodiscard]] const std::vector<Source>& sources() const { return sources_; }

    /// False: there is none of that name.
    bool record(std::string_view name);
    /// What it recorded is dropped, and it is recorded no more. False: there is none of that name.
    bool forget(std::string_view name);

    /// What is unknown here and known of an earlier life comes from there, its sources too.
    void fill_from(const Rrd& past);

    /// Of the last round; 0: there was none.
    [[nodiscard]] double updated() const { return updated_; }

    [[nodiscard]] std::size_t recorded_count() const;

    /// The archives that a source recorded here has, in order.
    [[nodiscard]] std::vector<Archive> fresh_archives() const;

    [[nodiscard]] bool extremes() const { return extremes_; }

    void set_extremes(bool extremes) { extremes_ = extremes; }

    /// For the codec: as it was written.
    void restore(double updated, std::string life, std::vector<Source> sources);

  private:
    Source* find_mutable(std::string_view name);
    Source& find_or_add(std::string_view name, std::size_t hint, const Describe& describe);
    void make_room();
    void advance(Source& source, double at, double value) const;

    bool extremes_;
    double updated_ = 0;
    std::string life_;
    std::vector<Source> sources_;
};

/// The mean of the newest `seconds` before `now` (seconds since 1970), as far as they are known;
/// nullopt when none is, or it is not recorded. Rows are taken whole, from the finest archive that
/// reaches so far back.
[[nodiscard]] std::optional<double> mean_of(const Source& source, double now, std::int64_t seconds);

}  // namespace basalt::metrics
