#pragma once
#include <string>
#include <string_view>

#include "metrics/rrd.hpp"

/// An Rrd as bytes: for files, and for the way from host to host. A line of JSON that says what
/// there is, the rows of all archives as little-endian doubles, and a checksum over both.
namespace basalt::metrics {

[[nodiscard]] std::string encode(const Rrd& rrd);
/// As `encode`, of the sources from number `first` on that fit into about `bytes_max` (one at
/// least); `next` becomes the number of the first that did not, or 0.
[[nodiscard]] std::string encode_some(const Rrd& rrd, std::size_t first, std::size_t bytes_max,
                                      std::size_t& next);

/// Throws std::runtime_error for what `encode` did not write: the bytes may come from another host.
[[nodiscard]] Rrd decode(std::string_view bytes);

}  // namespace basalt::metrics
