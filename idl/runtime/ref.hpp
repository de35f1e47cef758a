#pragma once
#include <array>
#include <compare>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/uuid.hpp"

namespace basalt::xenapi {

/// What the generator knows of the class behind a record struct: `name`, `index`.
/// Specialised in idl/classes.hpp.
template <class C>
struct ClassTraits;

inline constexpr std::string_view ref_prefix = "OpaqueRef:";
inline constexpr std::size_t ref_text_length = ref_prefix.size() + 36;

/// "OpaqueRef:<uuid>", or "OpaqueRef:NULL" for none.
[[nodiscard]] std::string ref_text(const Uuid& uuid);
/// The text without allocation; the view is into `buffer`.
using RefBuffer = std::array<char, ref_text_length>;
[[nodiscard]] std::string_view write_ref(const Uuid& uuid, RefBuffer& buffer);
/// "" and "OpaqueRef:NULL" are none; nullopt: not the text of a reference.
[[nodiscard]] std::optional<Uuid> parse_ref(std::string_view text);
/// The same, but throws HANDLE_INVALID [class_name, text].
[[nodiscard]] Uuid parse_ref_or_throw(std::string_view class_name, std::string_view text);

/// A reference to an object of class C; may dangle. Default: the null reference.
template <class C>
class Ref {
  public:
    constexpr Ref() = default;

    constexpr explicit Ref(Uuid uuid) : uuid_(uuid) {}

    /// Throws HANDLE_INVALID [class, text].
    static Ref parse(std::string_view text) {
        return Ref{parse_ref_or_throw(ClassTraits<C>::name, text)};
    }

    [[nodiscard]] constexpr const Uuid& uuid() const { return uuid_; }

    [[nodiscard]] constexpr bool null() const { return uuid_.none(); }

    constexpr explicit operator bool() const { return !uuid_.none(); }

    [[nodiscard]] std::string text() const { return ref_text(uuid_); }

    friend constexpr auto operator<=>(const Ref&, const Ref&) = default;

  private:
    Uuid uuid_;
};

struct ClassInfo;

/// A reference whose class is known at run time only.
struct AnyRef {
    const ClassInfo* cls = nullptr;
    Uuid uuid;

    [[nodiscard]] std::string text() const { return ref_text(uuid); }

    friend bool operator==(const AnyRef&, const AnyRef&) = default;
};

}  // namespace basalt::xenapi

template <class C>
struct std::hash<basalt::xenapi::Ref<C>> {
    std::size_t operator()(const basalt::xenapi::Ref<C>& ref) const noexcept {
        return ref.uuid().hash();
    }
};
