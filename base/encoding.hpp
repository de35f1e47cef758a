#pragma once
#include <optional>
#include <string>
#include <string_view>

/// Bytes as text. A library of its own, because it needs OpenSSL's.
namespace basalt {

/// RFC 4648 with padding, in one line.
std::string base64(std::string_view bytes);

/// Nothing when `text` is not what `base64` makes.
std::optional<std::string> from_base64(std::string_view text);

/// 64 lower-case digits. Throws std::runtime_error when the library refuses.
std::string sha256_hex(std::string_view bytes);

}  // namespace basalt
