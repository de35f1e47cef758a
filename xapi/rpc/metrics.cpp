#include "xapi/rpc/metrics.hpp"

#include <array>
#include <cstdint>
#include <cstdio>

namespace basalt::server {

namespace {

constexpr std::array<double, 13> bounds_seconds = {0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05,
                                                   0.1,    0.5,    1,     5,     10,    100};

std::string label_text(Metrics::Labels labels) {
    std::string out;
    for (const auto& [name, value] : labels) {
        if (!out.empty()) out += ',';
        out += name;
        out += "=\"";
        for (const char c : value) {
            if (c == '"' || c == '\\') out += '\\';
            if (c != '\n') out += c;
        }
        out += '"';
    }
    return out;
}

std::string number_text(double value) {
    std::array<char, 32> text{};
    const int size = std::snprintf(text.data(), text.size(), "%.10g", value);
    return {text.data(), static_cast<std::size_t>(size)};
}

std::string braced(const std::string& labels, const std::string& more = {}) {
    if (labels.empty() && more.empty()) return {};
    return "{" + labels + (labels.empty() || more.empty() ? "" : ",") + more + "}";
}

}  // namespace

void Metrics::count(std::string_view name, Labels labels, double by) {
    counter(name, labels) += by;
}

double& Metrics::counter(std::string_view name, Labels labels) {
    return families_[std::string(name)].values[label_text(labels)];
}

void Metrics::set(std::string_view name, double value, Labels labels) {
    Family& family = families_[std::string(name)];
    family.type = "gauge";
    family.values[label_text(labels)] = value;
}

Metrics::Histogram& Metrics::histogram(std::string_view name, Labels labels) {
    Family& family = families_[std::string(name)];
    family.type = "histogram";
    Histogram& histogram = family.histograms[label_text(labels)];
    histogram.buckets.resize(bounds_seconds.size());
    return histogram;
}

void Metrics::Histogram::observe(Duration took) {
    const double seconds = std::chrono::duration<double>(took).count();
    for (std::size_t i = 0; i < bounds_seconds.size(); ++i)
        if (seconds <= bounds_seconds[i]) ++buckets[i];
    sum_seconds += seconds;
    ++count;
}

void Metrics::observe(std::string_view name, Duration took, Labels labels) {
    histogram(name, labels).observe(took);
}

void Metrics::add(std::function<std::string()> text) {
    texts_.push_back(std::move(text));
}

void Metrics::gauge(std::string name, std::function<double()> read) {
    gauges_[std::move(name)] = std::move(read);
}

std::string Metrics::text() const {
    std::string out;
    for (const auto& [name, family] : families_) {
        out += "# TYPE " + name + " " + family.type + "\n";
        for (const auto& [labels, value] : family.values)
            out += name + braced(labels) + " " + number_text(value) + "\n";
        for (const auto& [labels, histogram] : family.histograms) {
            for (std::size_t i = 0; i < bounds_seconds.size(); ++i)
                out += name + "_bucket" +
                       braced(labels, "le=\"" + number_text(bounds_seconds[i]) + "\"") + " " +
                       std::to_string(histogram.buckets[i]) + "\n";
            out += name + "_bucket" + braced(labels, "le=\"+Inf\"") + " " +
                   std::to_string(histogram.count) + "\n";
            out += name + "_sum" + braced(labels) + " " + number_text(histogram.sum_seconds) + "\n";
            out += name + "_count" + braced(labels) + " " + std::to_string(histogram.count) + "\n";
        }
    }
    for (const auto& [name, read] : gauges_)
        out += "# TYPE " + name + " gauge\n" + name + " " + number_text(read()) + "\n";
    for (const auto& text : texts_)
        out += text();
    return out;
}

std::vector<Metrics::Timing> Metrics::timings() const {
    std::vector<Timing> out;
    for (const auto& [name, family] : families_)
        for (const auto& [labels, histogram] : family.histograms)
            out.push_back({name + braced(labels), histogram.count, histogram.sum_seconds});
    return out;
}

}  // namespace basalt::server
