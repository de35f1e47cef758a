#pragma once
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"

namespace basalt::server {

/// What a daemon counts about itself, as Prometheus text. Loop only. Deterministic order.
class Metrics {
  public:
    using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

    /// Adds to a counter.
    void count(std::string_view name, Labels labels = {}, double by = 1);
    /// The counter that `count` adds to, for who counts often; lives as long as this.
    [[nodiscard]] double& counter(std::string_view name, Labels labels = {});
    /// Adds to a histogram of seconds (buckets from 100 µs to 100 s, and their sum).
    void observe(std::string_view name, Duration took, Labels labels = {});
    void set(std::string_view name, double value, Labels labels = {});
    /// `read` is asked when the text is made, for figures that live elsewhere.
    void gauge(std::string name, std::function<double()> read);

    /// Appends what `text` says when the text is made: figures that have a form of their own.
    void add(std::function<std::string()> text);

    [[nodiscard]] std::string text() const;

    /// What a histogram has seen, all together.
    struct Timing {
        std::string name;  ///< with its labels, if it has some
        std::uint64_t count = 0;
        double sum_seconds = 0;
    };

    [[nodiscard]] std::vector<Timing> timings() const;

    class Histogram {
      public:
        void observe(Duration took);

      private:
        friend class Metrics;
        std::vector<std::uint64_t> buckets;
        double sum_seconds = 0;
        std::uint64_t count = 0;
    };

    /// The same as `observe` adds to, for who observes often; lives as long as this.
    [[nodiscard]] Histogram& histogram(std::string_view name, Labels labels = {});

  private:
    struct Family {
        const char* type = "counter";
        std::map<std::string, double> values;  ///< by label text
        std::map<std::string, Histogram> histograms;
    };

    std::map<std::string, Family, std::less<>> families_;
    std::map<std::string, std::function<double()>> gauges_;
    std::vector<std::function<std::string()>> texts_;
};

}  // namespace basalt::server
