#pragma once
// What xe knows, as generated constant data: objects with their fields, commands, error texts.
#include <cstdint>
#include <span>
#include <string_view>

namespace basalt::cli {

/// As shown beside a field's name: set or map, and whether the user may change it.
enum class Tag : std::uint8_t { ro, rw, sro, srw, mro, mrw };

/// What can be done with a field; see README.md.
namespace able {
inline constexpr unsigned set = 1, add = 2, remove = 4, set_in_map = 8, set_map = 16, clear = 32;
inline constexpr unsigned expensive = 64, hidden = 128, deprecated = 256, case_insensitive = 512;
}  // namespace able

struct Field {
    std::string_view name;
    Tag tag;
    std::string_view source;
    unsigned abilities;

    [[nodiscard]] bool can(unsigned ability) const { return (abilities & ability) != 0; }
};

/// An object name of xe, with the XenAPI class behind it.
struct Object {
    std::string_view name;
    std::string_view class_name;
    std::span<const std::string_view> filter;    ///< `field=value`: what NAME-list shows at all
    std::span<const std::string_view> defaults;  ///< fields that NAME-list shows; none: all
    std::span<const Field> fields;

    /// Any case, `_` for `-`; null: no such field.
    [[nodiscard]] const Field* field(std::string_view field_name) const;
};

namespace flag {
inline constexpr unsigned vm_selectors = 1, host_selectors = 2, sr_selectors = 4, standard = 8;
inline constexpr unsigned neverforward = 16, local_session = 32, hidden = 64, deprecated = 128;
}  // namespace flag

struct Command {
    std::string_view name;
    std::span<const std::string_view> required;
    std::span<const std::string_view> optional;  ///< `x:` takes x:key=value
    unsigned flags;
    std::string_view instead;                     ///< of a deprecated one
    std::string_view method;                      ///< the API message it stands for, or empty
    std::span<const std::string_view> arguments;  ///< of that message; see README.md

    [[nodiscard]] bool is(unsigned wanted) const { return (flags & wanted) != 0; }
};

struct ErrorText {
    std::string_view code;
    std::string_view text;
};

/// The names of a code's parameters, in order. Every code of the data model has a row.
struct ErrorParameters {
    std::string_view code;
    std::span<const std::string_view> names;
};

[[nodiscard]] std::span<const Object> objects();
/// Sorted by name.
[[nodiscard]] std::span<const Command> commands();
/// Sorted by code.
[[nodiscard]] std::span<const ErrorText> error_texts();

/// Sorted by code.
[[nodiscard]] std::span<const ErrorParameters> error_parameters();

/// Null: no such command.
[[nodiscard]] const Command* find_command(std::string_view name);
/// The line that explains an error code; empty: nobody wrote one.
[[nodiscard]] std::string_view error_text(std::string_view code);

/// `NAME-list`, `NAME-param-get` and so on.
enum class Verb : std::uint8_t {
    list,
    param_list,
    param_get,
    param_set,
    param_add,
    param_remove,
    param_clear,
};

struct ObjectCommand {
    const Object* object;
    Verb verb;
};

/// What `name` does with which object; object null: it is none of these commands, or its object
/// has no field that the verb could work on.
[[nodiscard]] ObjectCommand find_object_command(std::string_view name);
[[nodiscard]] std::string_view verb_name(Verb verb);
[[nodiscard]] bool has_verb(const Object& object, Verb verb);

}  // namespace basalt::cli
