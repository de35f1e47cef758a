#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

namespace basalt::xenapi {

/// `name`, `texts` (by value) and `exact_case` of a wire enumeration; see idl/enums.hpp.
template <class E>
struct EnumTraits;

template <class E>
concept WireEnum = std::is_enum_v<E> && requires { EnumTraits<E>::texts; };

/// The text of the value on the wire.
template <WireEnum E>
[[nodiscard]] constexpr std::string_view wire_text(E value) {
    return EnumTraits<E>::texts[static_cast<std::size_t>(value)];
}

constexpr char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool equal_any_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, {}, ascii_lower, ascii_lower);
}

/// Any case is taken, except for the few enumerations that are exact.
template <WireEnum E>
[[nodiscard]] constexpr std::optional<E> parse_enum(std::string_view text) {
    for (std::size_t i = 0; i < EnumTraits<E>::texts.size(); ++i) {
        const std::string_view candidate = EnumTraits<E>::texts[i];
        if (EnumTraits<E>::exact_case ? candidate == text : equal_any_case(candidate, text)) {
            return static_cast<E>(i);
        }
    }
    return std::nullopt;
}

}  // namespace basalt::xenapi
