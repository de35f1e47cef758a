#pragma once
#include <cstdint>
#include <string>
#include <string_view>

/// What the checks of hostd's arguments (guard.cpp) are made of: single words and numbers. Pure.
namespace basalt::agent {

[[nodiscard]] bool is_letter_or_digit(char c);
/// Whether there is a byte that is none of a text's.
[[nodiscard]] bool has_control(std::string_view text);
/// Letters, digits and `also`, beginning with a letter or digit: never a path, an option, or a
/// place beside its own (`.`, `..`).
[[nodiscard]] bool is_name(std::string_view text, std::size_t size_max, std::string_view also);

/// UUID_INVALID [kind, text].
void check_uuid(const char* kind, const std::string& text);
/// INVALID_VALUE [field, value] outside of `least` to `most`.
void check_range(const char* field, std::int64_t value, std::int64_t least, std::int64_t most);
/// INVALID_VALUE [field, text] for one that is too long or has a NUL.
void check_text(const char* field, const std::string& text);
/// The same for one that is not a single line, too.
void check_line(const char* field, const std::string& text);

/// INVALID_VALUE [field, text] for what is no place on the PCI buses, as 0000:3b:00.1.
void check_pci_address(const char* field, const std::string& text);

}  // namespace basalt::agent
