#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace basalt::wire {

struct Member;
struct Value;

struct Null {
    friend bool operator==(Null, Null) = default;
};

/// The content of `<dateTime.iso8601>`, not yet read.
struct DateTimeText {
    std::string text;

    friend bool operator==(const DateTimeText&, const DateTimeText&) = default;
};

using Array = std::vector<Value>;
using Object = std::vector<Member>;

/// A request's parameter as the XML or JSON parser saw it. Untagged XML text is a string; the
/// decoders accept texts of numbers in both protocols, so the origin need not be known.
struct Value {
    using Data =
        std::variant<Null, bool, std::int64_t, double, std::string, DateTimeText, Array, Object>;

    Data data;

    Value() = default;

    template <class T>
        requires(!std::same_as<std::remove_cvref_t<T>, Value> && std::constructible_from<Data, T>)
    Value(T&& value)  // NOLINT(google-explicit-constructor): values read like literals
        : data(std::forward<T>(value)) {}

    template <class T>
    [[nodiscard]] const T* get() const {
        return std::get_if<T>(&data);
    }

    [[nodiscard]] bool is_null() const { return std::holds_alternative<Null>(data); }

    /// The member of that name of an object; null when absent, or when this is no object.
    [[nodiscard]] const Value* find(std::string_view name) const;
    /// The notation that error messages show: `I(5)`, `S(x)`, `{a:S(b)}`.
    [[nodiscard]] std::string debug_text() const;

    friend bool operator==(const Value&, const Value&) = default;
};

struct Member {
    std::string name;
    Value value;

    friend bool operator==(const Member&, const Member&) = default;
};

/// Throws INTERNAL_ERROR [Failure("message")], the form in which clients see decoding errors.
[[noreturn]] void fail(std::string_view message);
/// fail("Expected <what>, got '<value>'").
[[noreturn]] void fail_expected(std::string_view what, const Value& value);

/// Parses a JSON text; throws std::invalid_argument. Numbers beyond 64 bits become doubles.
[[nodiscard]] Value parse_json(std::string_view text);

}  // namespace basalt::wire
