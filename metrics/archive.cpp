#include "metrics/archive.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace basalt::metrics {

namespace {

// Rows are numbered by their ends too: row r is over with step r * steps.
std::int64_t row_of(std::int64_t step, std::int64_t steps) {
    return (step + steps - 1) / steps;
}

bool same_bits(double a, double b) {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

}  // namespace

std::string_view text(Fold fold) {
    constexpr std::array<std::string_view, 3> texts = {"AVERAGE", "MIN", "MAX"};
    return texts.at(static_cast<std::size_t>(fold));
}

std::size_t Ring::place(std::int64_t row) const {
    return static_cast<std::size_t>((row - first_) % capacity_);
}

std::int64_t Ring::oldest() const {
    return std::max(first_, newest_ - capacity_ + 1);
}

void Ring::put(std::int64_t row, double value) {
    if (newest_ < first_ || row - newest_ > capacity_) {
        values_.clear();
        first_ = row;
        newest_ = row - 1;
    }
    for (std::int64_t next = newest_ + 1; next <= row; ++next) {
        const double stored = next == row ? value : unknown;
        if (place(next) == values_.size()) {
            values_.push_back(stored);
        } else {
            values_[place(next)] = stored;
        }
    }
    newest_ = row;
}

double Ring::at(std::int64_t row) const {
    if (row > newest_ || row < oldest()) return unknown;
    return values_[place(row)];
}

bool Ring::operator==(const Ring& other) const {
    if (capacity_ != other.capacity_ || newest_ != other.newest_ || oldest() != other.oldest())
        return false;
    for (std::int64_t row = oldest(); row <= newest_; ++row)
        if (!same_bits(at(row), other.at(row))) return false;
    return true;
}

void Archive::begin(std::int64_t row) {
    unfinished_ = {.row = row};
}

void Archive::take(double value, std::int64_t steps) {
    if (std::isnan(value)) return;
    const bool first = unfinished_.known == 0;
    unfinished_.known += steps;
    double& held = unfinished_.value;
    switch (fold_) {
        case Fold::average:
            held += value * static_cast<double>(steps);
            break;
        case Fold::min:
            held = first ? value : std::min(held, value);
            break;
        case Fold::max:
            held = first ? value : std::max(held, value);
            break;
    }
}

void Archive::finish() {
    const auto known = static_cast<double>(unfinished_.known);
    double value = unknown;
    if (unfinished_.known > 0 && known >= known_share * static_cast<double>(shape_.steps))
        value = fold_ == Fold::average ? unfinished_.value / known : unfinished_.value;
    ring_.put(unfinished_.row, value);
}

void Archive::add(std::int64_t before, std::int64_t last, double value) {
    // A gap may be years long; no row before these will be kept.
    const std::int64_t kept = last - shape_.steps * (shape_.rows + 1);
    if (before < kept) before = std::max(before, kept / shape_.steps * shape_.steps);
    while (before < last) {
        const std::int64_t row = row_of(before + 1, shape_.steps);
        if (unfinished_.row != row) begin(row);
        const std::int64_t end = std::min(last, row * shape_.steps);
        take(value, end - before);
        if (end == row * shape_.steps) finish();
        before = end;
    }
}

void Archive::fill_from(const Archive& past) {
    if (past.fold_ != fold_ || past.shape_.steps != shape_.steps) return;
    const std::int64_t newest = std::max(ring_.newest(), past.ring_.newest());
    Ring merged(shape_.rows);
    for (std::int64_t row = newest - shape_.rows + 1; row <= newest; ++row) {
        const double here = ring_.at(row);
        const double value = std::isnan(here) ? past.ring_.at(row) : here;
        if (!std::isnan(value) || merged.newest() >= 0) merged.put(row, value);
    }
    ring_ = std::move(merged);
    const Unfinished& theirs = past.unfinished_;
    if (theirs.known == 0 || theirs.row < unfinished_.row) return;
    if (theirs.row > unfinished_.row || unfinished_.known == 0) {
        unfinished_ = theirs;
        return;
    }
    // Two lives have no step in common: what does not fit is not ours.
    if (unfinished_.known + theirs.known > shape_.steps) return;
    if (fold_ == Fold::average) {
        unfinished_.value += theirs.value;
        unfinished_.known += theirs.known;
    } else {
        take(theirs.value, theirs.known);
    }
}

void Archive::restore(Ring ring, Unfinished unfinished) {
    ring_ = std::move(ring);
    unfinished_ = unfinished;
}

bool Archive::operator==(const Archive& other) const {
    return fold_ == other.fold_ && shape_.steps == other.shape_.steps && ring_ == other.ring_ &&
           unfinished_ == other.unfinished_;
}

}  // namespace basalt::metrics
