#pragma once
// The parameter type of the generated error constructors (idl/errors.hpp). Light on purpose:
// every backend includes it.
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace basalt::err {

/// One parameter of an error as text. Takes texts, integers, anything with `text()` (Ref, Uuid,
/// DateTime) and the wire enumerations.
class ErrorParam {
  public:
    // Implicit on purpose: call sites read like the error they raise.
    ErrorParam(std::string text) : text_(std::move(text)) {}  // NOLINT(google-explicit-constructor)

    ErrorParam(std::string_view text) : text_(text) {}  // NOLINT(google-explicit-constructor)

    ErrorParam(const char* text) : text_(text) {}  // NOLINT(google-explicit-constructor)

    template <std::integral T>
        requires(!std::same_as<T, char>)
    ErrorParam(T value)  // NOLINT(google-explicit-constructor)
        : text_(integer_text(value)) {}

    template <class T>
        requires requires(const T& value) {
            { value.text() } -> std::convertible_to<std::string>;
        }
    ErrorParam(const T& value) : text_(value.text()) {}  // NOLINT(google-explicit-constructor)

    template <class T>
        requires(std::is_enum_v<T> &&
                 requires(T value) {
                     { wire_text(value) } -> std::convertible_to<std::string_view>;
                 })
    ErrorParam(T value) : text_(wire_text(value)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] std::string take() && { return std::move(text_); }

  private:
    template <class T>
    static std::string integer_text(T value) {
        if constexpr (std::same_as<T, bool>) {
            return value ? "true" : "false";
        } else {
            return std::to_string(value);
        }
    }

    std::string text_;
};

}  // namespace basalt::err
