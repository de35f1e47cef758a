#pragma once
// Copying of texts into answers, 16 bytes at a time. Internal to idl/runtime.
#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace basalt::wire::detail {

enum class Form : std::uint8_t { json, xml };

/// What a copy may write beyond the end of what it copies.
inline constexpr std::size_t copy_slack = 16;

constexpr std::uint64_t every(std::uint64_t c) {
    return c * 0x0101010101010101U;
}

/// The highest bit of the bytes below `c` (at most 0x80), and perhaps of others above the first
/// such one.
constexpr std::uint64_t bytes_below(std::uint64_t word, std::uint64_t c) {
    return (word - every(c)) & ~word & every(0x80);
}

constexpr std::uint64_t bytes_equal(std::uint64_t word, std::uint64_t c) {
    return bytes_below(word ^ every(c), 1);
}

/// Marks the first byte that may have to be escaped (in XML white space, too), and perhaps others
/// after it; 0: none.
template <Form F>
constexpr std::uint64_t suspicious(std::uint64_t word) {
    const std::uint64_t found = bytes_below(word, 0x20) | bytes_equal(word, '"');
    if constexpr (F == Form::xml) {
        return found | bytes_equal(word, '<') | bytes_equal(word, '>') | bytes_equal(word, '&');
    } else {
        return found | bytes_equal(word, '\\') | bytes_equal(word, 0x7f);
    }
}

template <Form F>
inline unsigned suspicious(__m128i block) {
    const auto equal = [block](char c) { return _mm_cmpeq_epi8(block, _mm_set1_epi8(c)); };
    // Below 0x20: the smaller one of it and 0x1f is itself.
    __m128i found = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    found = _mm_or_si128(found, equal('"'));
    if constexpr (F == Form::xml) {
        found = _mm_or_si128(found, _mm_or_si128(equal('<'), _mm_or_si128(equal('>'), equal('&'))));
    } else {
        found = _mm_or_si128(found, _mm_or_si128(equal('\\'), equal(0x7f)));
    }
    return static_cast<unsigned>(_mm_movemask_epi8(found));
}

inline std::size_t first_marked(std::uint64_t marks) {
    return static_cast<std::size_t>(std::countr_zero(marks)) / 8;
}

template <class Word>
Word load(const char* from) {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

/// Copies fewer than 16 bytes up to the first that may have to be escaped; returns how many.
template <Form F>
inline std::size_t copy_short(char* to, const char* from, std::size_t size) {
    if (size >= 8) {
        const auto head = load<std::uint64_t>(from);
        const auto tail = load<std::uint64_t>(from + size - 8);
        std::memcpy(to, &head, 8);
        std::memcpy(to + size - 8, &tail, 8);
        if (const auto marks = suspicious<F>(head)) return first_marked(marks);
        const auto marks = suspicious<F>(tail);
        return marks == 0 ? size : size - 8 + first_marked(marks);
    }
    std::uint64_t word = every(' ');
    if (size >= 4) {
        // Both ends of it, which overlap: the order of bytes is that of the text for each of them.
        const auto head = load<std::uint32_t>(from);
        const auto tail = load<std::uint32_t>(from + size - 4);
        std::memcpy(to, &head, 4);
        std::memcpy(to + size - 4, &tail, 4);
        word = (std::uint64_t{tail} << 32U) | head;
        const auto marks = suspicious<F>(word);
        if (marks == 0) return size;
        const std::size_t at = first_marked(marks);
        return at < 4 ? at : size - 8 + at;
    }
    char* const bytes = reinterpret_cast<char*>(&word);
    for (std::size_t i = 0; i < size; ++i)
        to[i] = bytes[i] = from[i];
    const auto marks = suspicious<F>(word);
    return marks == 0 ? size : first_marked(marks);
}

/// Copies `text` up to the first byte that may have to be escaped and returns how many bytes those
/// are. At `to` there is room for the text and for `copy_slack`.
template <Form F>
inline std::size_t copy_plain(char* to, std::string_view text) {
    const std::size_t size = text.size();
    const char* const from = text.data();
    if (size < 16) return copy_short<F>(to, from, size);
    for (std::size_t at = 0;; at = at + 16 <= size - 16 ? at + 16 : size - 16) {
        const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + at), block);
        if (const unsigned marks = suspicious<F>(block))
            return at + static_cast<std::size_t>(std::countr_zero(marks));
        if (at == size - 16) return size;
    }
}

/// What stands for a byte.
struct Escape {
    std::array<char, 7> text{};
    std::uint8_t size = 0;
};

constexpr Escape escape_of(std::string_view text) {
    Escape escape;
    escape.size = static_cast<std::uint8_t>(text.copy(escape.text.data(), escape.text.size()));
    return escape;
}

constexpr std::array<Escape, 256> make_escapes(Form form) {
    std::array<Escape, 256> escapes{};
    for (std::size_t c = 0; c < escapes.size(); ++c) {
        const char itself = static_cast<char>(c);
        escapes[c] = escape_of({&itself, 1});
        if (c >= 0x20 && c != 0x7f) continue;
        constexpr std::string_view hex = "0123456789abcdef";
        const std::array<char, 6> code{'\\', 'u', '0', '0', hex[c >> 4U], hex[c & 15U]};
        // XML 1.0 has no way to write them.
        if (form == Form::json) escapes[c] = escape_of({code.data(), code.size()});
        if (form == Form::xml && c != 0x7f) escapes[c] = {};
    }
    const auto set = [&escapes](char c, std::string_view text) {
        escapes[static_cast<unsigned char>(c)] = escape_of(text);
    };
    if (form == Form::json) {
        for (const char* pair : {"\"\\\"", "\\\\\\", "\b\\b", "\f\\f", "\n\\n", "\r\\r", "\t\\t"})
            set(*pair, pair + 1);
    } else {
        for (const char* pair : {"<&lt;", ">&gt;", "&&amp;", "\"&quot;", "\n\n", "\r\r", "\t\t"})
            set(*pair, pair + 1);
    }
    return escapes;
}

template <Form F>
inline constexpr std::array<Escape, 256> escapes = make_escapes(F);

/// The end of a string that is being written, with room for what comes next.
class Tail {
  public:
    /// `room`: about how much will be written.
    Tail(std::string& out, std::size_t room) : out_(out) { take(out.size(), room); }

    Tail(const Tail&) = delete;
    Tail& operator=(const Tail&) = delete;

    ~Tail() { out_.resize(written()); }

    /// Room for `bytes` and for `copy_slack`, where `put` and the copies write.
    void need(std::size_t bytes) {
        if (static_cast<std::size_t>(end_ - to_) < bytes + copy_slack) take(written(), bytes);
    }

    [[nodiscard]] std::size_t written() const {
        return static_cast<std::size_t>(to_ - out_.data());
    }

    [[nodiscard]] char* to() const { return to_; }

    [[nodiscard]] char* end() const { return end_; }

    void advance(std::size_t bytes) { to_ += bytes; }

    /// Any text, as a part of another or of a whole.
    template <Form F>
    void put_escaped(std::string_view text) {
        for (;;) {
            need(text.size());
            const std::size_t plain = copy_plain<F>(to_, text);
            to_ += plain;
            if (plain == text.size()) return;
            const Escape& escape = escapes<F>[static_cast<unsigned char>(text[plain])];
            need(escape.size);
            std::memcpy(to_, escape.text.data(), escape.text.size());
            to_ += escape.size;
            text.remove_prefix(plain + 1);
        }
    }

    /// Text that needs no escaping. Room is there.
    void put(std::string_view text) {
        std::memcpy(to_, text.data(), text.size());
        to_ += text.size();
    }

    /// The same where 16 bytes more can be read behind it.
    void put_padded(const char* from, std::size_t size) {
        for (std::size_t at = 0; at < size; at += 16)
            std::memcpy(to_ + at, from + at, 16);
        to_ += size;
    }

  private:
    void take(std::size_t written, std::size_t bytes) {
        constexpr std::size_t more = 512;  // so that it is not asked for field by field
        out_.resize(written + bytes + copy_slack + more);
        to_ = out_.data() + written;
        end_ = out_.data() + out_.size();
    }

    std::string& out_;
    char* to_ = nullptr;
    char* end_ = nullptr;
};

}  // namespace basalt::wire::detail
