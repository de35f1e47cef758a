#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace basalt::transfer {

/// The most that one step makes.
inline constexpr std::size_t inflated_bytes_max = std::size_t{1} << 20;

/// Decompresses a stream that comes in pieces. Works, and so belongs on a pool thread.
class Inflater {
  public:
    virtual ~Inflater() = default;

    struct Step {
        std::string out;
        std::size_t taken = 0;  ///< bytes of `in` that are used up
        bool ended = false;     ///< the compressed stream is whole; what follows is not of it
    };

    /// At most inflated_bytes_max more, from as much of `in` as that takes. Throws IMPORT_ERROR
    /// when it is no such stream.
    virtual Step step(std::string_view in) = 0;
};

/// By the first bytes of a stream (at least 4): zstd, or else gzip.
[[nodiscard]] std::unique_ptr<Inflater> inflater_for(std::string_view first_bytes);

}  // namespace basalt::transfer
