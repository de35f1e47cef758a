#pragma once
#include <string_view>

namespace basalt::core {

/// Whether `text` is the secret, in a time that tells nothing but its length. An empty secret is
/// nobody's.
[[nodiscard]] inline bool is_secret(std::string_view secret, std::string_view text) {
    if (secret.empty() || secret.size() != text.size()) return false;
    unsigned difference = 0;
    for (std::size_t i = 0; i < text.size(); ++i)
        difference |= static_cast<unsigned char>(secret[i]) ^ static_cast<unsigned char>(text[i]);
    return difference == 0;
}

}  // namespace basalt::core
