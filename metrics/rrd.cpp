#include "metrics/rrd.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace basalt::metrics {

namespace {

constexpr double too_great_share = 1.25;
/// A clock that was set back by more will not catch up soon: the figures begin anew.
constexpr double set_back_seconds_max = 86400;

std::int64_t step_of(double at) {
    return static_cast<std::int64_t>(std::floor(at / step_seconds));
}

double seconds_of(std::int64_t step) {
    return static_cast<double>(step * step_seconds);
}

double figure(const Source& source, double sampled, double at, double round_seconds) {
    // One that is new has not been sampled: its `since` is as long as can be.
    const double since = at - source.sampled_at;
    switch (source.info.kind) {
        case Kind::gauge:
            return sampled;
        case Kind::absolute:
            return source.sampled_at == 0 ? unknown : sampled / round_seconds;
        case Kind::derive:
            return since > heartbeat_seconds ? unknown : (sampled - source.sampled) / since;
    }
    return unknown;
}

auto named(std::string_view name) {
    return [name](const Source& source) { return source.info.name == name; };
}

double within(const SourceInfo& info, double value) {
    if (value < info.min) return unknown;
    if (value <= info.max || std::isnan(value)) return value;
    return value <= info.max * too_great_share ? info.max : unknown;
}

}  // namespace

std::string_view text(Kind kind) {
    constexpr std::array<std::string_view, 3> texts = {"GAUGE", "ABSOLUTE", "DERIVE"};
    return texts.at(static_cast<std::size_t>(kind));
}

std::size_t Rrd::update(double at, std::span<const Sample> samples, const Describe& describe,
                        std::size_t room) {
    if (updated_ - at > set_back_seconds_max) {
        updated_ = 0;
        sources_.clear();
    }
    if (at <= updated_) return 0;
    const double round_seconds = at - updated_;
    for (Source& source : sources_)
        source.value = unknown;
    std::size_t refused = 0;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const Sample& sample = samples[i];
        Source& source = find_or_add(sample.name, i, describe);
        const bool is_new = source.sampled_at == 0;
        source.value = within(source.info, figure(source, sample.value, at, round_seconds));
        source.sampled = sample.value;
        source.sampled_at = at;
        if (!is_new || !source.info.standard) continue;
        if (room == 0) {
            ++refused;
            continue;
        }
        source.archives = fresh_archives();
        --room;
    }
    if (updated_ > 0)
        for (Source& source : sources_)
            advance(source, at, round_seconds > heartbeat_seconds ? unknown : source.value);
    updated_ = at;
    return refused;
}

void Rrd::begin_life(std::string_view life) {
    if (life == life_) return;
    life_ = life;
    for (Source& source : sources_)
        source.sampled = unknown;
}

void Rrd::advance(Source& source, double at, double value) const {
    const auto add_part = [&](double seconds) {
        if (std::isnan(value)) return;
        source.step_sum += value * seconds;
        source.step_known += seconds;
    };
    const std::int64_t before = step_of(updated_);
    const std::int64_t last = step_of(at);
    if (last == before) return add_part(at - updated_);
    add_part(seconds_of(before + 1) - updated_);
    const bool known = source.step_known >= known_share * step_seconds;
    const double first = known ? source.step_sum / source.step_known : unknown;
    for (Archive& archive : source.archives) {
        archive.add(before, before + 1, first);
        archive.add(before + 1, last, value);
    }
    source.step_sum = source.step_known = 0;
    add_part(at - seconds_of(last));
}

const Source* Rrd::find(std::string_view name) const {
    const auto at = std::ranges::find_if(sources_, named(name));
    return at == sources_.end() ? nullptr : &*at;
}

Source* Rrd::find_mutable(std::string_view name) {
    const auto at = std::ranges::find_if(sources_, named(name));
    return at == sources_.end() ? nullptr : &*at;
}

// Samples come in the same order each round: the hint is nearly always right.
Source& Rrd::find_or_add(std::string_view name, std::size_t hint, const Describe& describe) {
    if (hint < sources_.size() && sources_[hint].info.name == name) return sources_[hint];
    if (Source* known = find_mutable(name)) return *known;
    if (sources_.size() >= sources_max) make_room();
    sources_.push_back(Source{.info = describe(name)});
    sources_.back().info.name = name;
    return sources_.back();
}

void Rrd::make_room() {
    const auto longest = std::ranges::min_element(sources_, {}, &Source::sampled_at);
    sources_.erase(longest);
}

bool Rrd::record(std::string_view name) {
    Source* source = find_mutable(name);
    if (source == nullptr) return false;
    if (source->archives.empty()) source->archives = fresh_archives();
    return true;
}

bool Rrd::forget(std::string_view name) {
    Source* source = find_mutable(name);
    if (source == nullptr) return false;
    source->archives.clear();
    return true;
}

void Rrd::fill_from(const Rrd& past) {
    for (const Source& theirs : past.sources_) {
        Source* ours = find_mutable(theirs.info.name);
        if (ours == nullptr) {
            if (sources_.size() >= sources_max) continue;
            sources_.push_back(theirs);
            // Its counter counts somewhere else now, or not at all.
            Source& added = sources_.back();
            added.sampled = added.value = unknown;
            added.step_sum = added.step_known = 0;
            continue;
        }
        // Whether it is recorded was somebody's choice in the earlier life.
        if (!theirs.recorded()) {
            ours->archives.clear();
            continue;
        }
        if (!ours->recorded()) ours->archives = fresh_archives();
        for (Archive& archive : ours->archives)
            for (const Archive& old : theirs.archives)
                archive.fill_from(old);
    }
    extremes_ = extremes_ || past.extremes_;
    updated_ = std::max(updated_, past.updated_);
}

std::size_t Rrd::recorded_count() const {
    return static_cast<std::size_t>(std::ranges::count_if(sources_, &Source::recorded));
}

std::vector<Archive> Rrd::fresh_archives() const {
    std::vector<Archive> out;
    for (const Shape& shape : shapes)
        out.emplace_back(Fold::average, shape);
    if (!extremes_) return out;
    // A single step has one figure: its least and greatest are the same.
    for (const Fold fold : {Fold::min, Fold::max})
        for (const Shape& shape : shapes)
            if (shape.steps > 1) out.emplace_back(fold, shape);
    return out;
}

void Rrd::restore(double updated, std::string life, std::vector<Source> sources) {
    updated_ = updated;
    life_ = std::move(life);
    sources_ = std::move(sources);
}

std::optional<double> mean_of(const Source& source, double now, std::int64_t seconds) {
    for (const Archive& archive : source.archives) {
        const auto [steps, rows] = archive.shape();
        const std::int64_t row_seconds = steps * step_seconds;
        if (archive.fold() != Fold::average || row_seconds * rows < seconds) continue;
        const Ring& ring = archive.ring();
        const auto first = (static_cast<std::int64_t>(now) - seconds) / row_seconds + 1;
        double sum = 0;
        std::int64_t known = 0;
        for (std::int64_t row = std::max(first, ring.oldest()); row <= ring.newest(); ++row) {
            if (std::isnan(ring.at(row))) continue;
            sum += ring.at(row);
            ++known;
        }
        if (known == 0) return std::nullopt;
        return sum / static_cast<double>(known);
    }
    return std::nullopt;
}

}  // namespace basalt::metrics
