#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace basalt {

/// 16 bytes, printed as 8-4-4-4-12 lower-case hex. All zero is "none".
class Uuid {
  public:
    constexpr Uuid() = default;

    /// Two random words make one; the caller brings the randomness (`Loop::random`).
    static Uuid from_words(std::uint64_t high, std::uint64_t low);
    static std::optional<Uuid> parse(std::string_view text);

    [[nodiscard]] std::string text() const;
    /// Writes the 36 characters of `text()` without allocating.
    void write(char* out) const;

    [[nodiscard]] constexpr bool none() const { return *this == Uuid{}; }

    [[nodiscard]] std::size_t hash() const;

    friend constexpr auto operator<=>(const Uuid&, const Uuid&) = default;

  private:
    std::array<std::uint8_t, 16> bytes_{};
};

}  // namespace basalt

template <>
struct std::hash<basalt::Uuid> {
    std::size_t operator()(const basalt::Uuid& uuid) const noexcept { return uuid.hash(); }
};
