#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// Bytes made smaller for a message or a record: zlib streams (RFC 1950).
namespace basalt {

/// Throws std::runtime_error when the library refuses. Takes about 10 ms a MiB: not for large
/// texts on the loop.
std::string zlib_packed(std::string_view bytes);

/// Nothing for what is no whole stream, or is of more than `bytes_max`.
std::optional<std::string> zlib_unpacked(std::string_view stream, std::size_t bytes_max);

}  // namespace basalt
