#include "host-agent/core/guard_words.hpp"

#include <algorithm>

#include "base/uuid.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr std::size_t text_bytes_max = 16384;

}  // namespace

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool has_control(std::string_view text) {
    return std::ranges::any_of(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_name(std::string_view text, std::size_t size_max, std::string_view also) {
    return !text.empty() && text.size() <= size_max && is_letter_or_digit(text.front()) &&
           std::ranges::all_of(
               text, [also](char c) { return is_letter_or_digit(c) || also.contains(c); });
}

void check_uuid(const char* kind, const std::string& text) {
    if (!Uuid::parse(text)) throw err::uuid_invalid(kind, text.substr(0, 64));
}

void check_range(const char* field, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most) throw err::invalid_value(field, std::to_string(value));
}

void check_text(const char* field, const std::string& text) {
    if (text.size() > text_bytes_max || text.contains('\0'))
        throw err::invalid_value(field, text.substr(0, 64));
}

void check_pci_address(const char* field, const std::string& text) {
    constexpr std::string_view form = "hhhh:hh:hh.o";
    bool good = text.size() == form.size();
    for (std::size_t i = 0; good && i < form.size(); ++i) {
        const bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
        const bool octal = text[i] >= '0' && text[i] <= '7';
        good = form[i] == 'h' ? hex : form[i] == 'o' ? octal : text[i] == form[i];
    }
    if (!good) throw err::invalid_value(field, text.substr(0, 64));
}

void check_line(const char* field, const std::string& text) {
    check_text(field, text);
    if (has_control(text)) throw err::invalid_value(field, text.substr(0, 64));
}

}  // namespace basalt::agent
