#include "idl/runtime/writers.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

namespace basalt::wire {

namespace {

struct Number {
    std::array<char, 32> buffer;
    std::size_t length;

    [[nodiscard]] std::string_view view() const { return {buffer.data(), length}; }
};

Number integer_chars(std::int64_t value) {
    Number number{};
    const auto end =
        std::to_chars(number.buffer.data(), number.buffer.data() + number.buffer.size(), value);
    number.length = static_cast<std::size_t>(end.ptr - number.buffer.data());
    return number;
}

/// As printf's %.*g writes it, in any locale.
Number real_chars(double value, int digits) {
    Number number{};
    const auto end =
        std::to_chars(number.buffer.data(), number.buffer.data() + number.buffer.size(), value,
                      std::chars_format::general, digits);
    number.length = static_cast<std::size_t>(end.ptr - number.buffer.data());
    return number;
}

double value_of(const Number& number) {
    double value = 0;
    std::from_chars(number.buffer.data(), number.buffer.data() + number.length, value);
    return value;
}

constexpr std::array<bool, 256> make_special(bool xml) {
    std::array<bool, 256> special{};
    for (std::size_t c = 0; c < 0x20; ++c)
        special[c] = true;
    if (xml) {
        special['\t'] = special['\n'] = special['\r'] = false;
        special['<'] = special['>'] = special['&'] = special['"'] = true;
    } else {
        special['"'] = special['\\'] = special[0x7f] = true;
    }
    return special;
}

constexpr auto json_special = make_special(false);
constexpr auto xml_special = make_special(true);

/// Eight bytes at once: the highest bit of those that are the byte `c`, and perhaps of others above
/// the first such one.
constexpr std::uint64_t every(std::uint64_t c) {
    return c * 0x0101010101010101U;
}

constexpr std::uint64_t bytes_below(std::uint64_t word, std::uint64_t c) {
    return (word - every(c)) & ~word & every(0x80);
}

constexpr std::uint64_t bytes_equal(std::uint64_t word, std::uint64_t c) {
    return bytes_below(word ^ every(c), 1);
}

/// Whether any of the eight bytes may have to be escaped; in XML white space, too.
template <bool Xml>
inline bool suspicious(std::uint64_t word) {
    std::uint64_t found = bytes_below(word, 0x20) | bytes_equal(word, '"');
    if constexpr (Xml) {
        found |= bytes_equal(word, '<') | bytes_equal(word, '>') | bytes_equal(word, '&');
    } else {
        found |= bytes_equal(word, '\\') | bytes_equal(word, 0x7f);
    }
    return found != 0;
}

/// Whether the text is written as it is: nearly every text is.
template <bool Xml>
bool plain(std::string_view text) {
    std::uint64_t word = 0;
    while (text.size() >= sizeof word) {
        std::memcpy(&word, text.data(), sizeof word);
        if (suspicious<Xml>(word)) return false;
        text.remove_prefix(sizeof word);
    }
    word = every(' ');
    text.copy(reinterpret_cast<char*>(&word), text.size());
    return !suspicious<Xml>(word);
}

/// Copies runs of ordinary bytes at once and hands each special one to `escape`.
template <class Escape>
void append_escaped(std::string& out, std::string_view text, const std::array<bool, 256>& special,
                    Escape escape) {
    std::size_t start = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!special[static_cast<unsigned char>(text[i])]) continue;
        out.append(text, start, i - start);
        escape(text[i]);
        start = i + 1;
    }
    out.append(text, start);
}

/// Several texts as one: room is made once. Most of a record's cost is in here.
template <class... Texts>
void append_all(std::string& out, Texts... texts) {
    const std::size_t before = out.size();
    out.resize_and_overwrite(before + (texts.size() + ...), [&](char* data, std::size_t size) {
        char* to = data + before;
        const auto put = [&to](std::string_view text) { to += text.copy(to, text.size()); };
        (put(texts), ...);
        return size;
    });
}

using namespace std::string_view_literals;

template <class Writer>
void write_value(const Value& value, Writer& writer);

struct Visitor {
    template <class Writer>
    static void write(Null, Writer& w) {
        w.null();
    }

    template <class Writer>
    static void write(bool value, Writer& w) {
        w.boolean(value);
    }

    template <class Writer>
    static void write(std::int64_t value, Writer& w) {
        w.integer(value);
    }

    template <class Writer>
    static void write(double value, Writer& w) {
        w.real(value);
    }

    template <class Writer>
    static void write(const std::string& value, Writer& w) {
        w.text(value);
    }

    template <class Writer>
    static void write(const DateTimeText& value, Writer& w) {
        w.datetime(value.text);
    }

    template <class Writer>
    static void write(const Array& items, Writer& w) {
        w.begin_array();
        for (const Value& item : items) {
            w.element();
            write_value(item, w);
        }
        w.end_array();
    }

    template <class Writer>
    static void write(const Object& members, Writer& w) {
        w.begin_object();
        for (const Member& member : members) {
            w.key(member.name);
            write_value(member.value, w);
            w.end_member();
        }
        w.end_object();
    }
};

template <class Writer>
void write_value(const Value& value, Writer& writer) {
    std::visit([&writer](const auto& data) { Visitor::write(data, writer); }, value.data);
}

}  // namespace

std::string real_text(double value) {
    return std::string(real_chars(value, 16).view());
}

void JsonWriter::quoted(std::string_view text) {
    if (plain<false>(text)) return append_all(out_, "\""sv, text, "\""sv);
    out_ += '"';
    append_escaped(out_, text, json_special, [this](char c) {
        switch (c) {
            case '"':
                out_ += "\\\"";
                return;
            case '\\':
                out_ += "\\\\";
                return;
            case '\b':
                out_ += "\\b";
                return;
            case '\f':
                out_ += "\\f";
                return;
            case '\n':
                out_ += "\\n";
                return;
            case '\r':
                out_ += "\\r";
                return;
            case '\t':
                out_ += "\\t";
                return;
            default:
                constexpr std::string_view hex = "0123456789abcdef";
                out_ += "\\u00";
                out_ += hex[static_cast<unsigned char>(c) >> 4U];
                out_ += hex[static_cast<unsigned char>(c) & 0xfU];
        }
    });
    out_ += '"';
}

void JsonWriter::plain_key(std::string_view name) {
    append_all(out_, comma_ ? ",\""sv : "\""sv, name, "\":"sv);
    comma_ = false;
}

void JsonWriter::key(std::string_view name) {
    comma();
    quoted(name);
    out_ += ':';
}

void JsonWriter::integer(std::int64_t value) {
    token(integer_chars(value).view());
}

void JsonWriter::real(double value) {
    if (!std::isfinite(value)) {
        const std::string_view name = std::isnan(value) ? "NaN"
                                      : value > 0       ? "Infinity"
                                                        : "-Infinity";
        return strict_ ? plain_text(name) : token(name);
    }
    Number number = real_chars(value, 16);
    if (value_of(number) != value) number = real_chars(value, 17);
    token(number.view());
    if (number.view().find_first_of(".e") == std::string_view::npos) out_ += ".0";
}

void JsonWriter::text(std::string_view value) {
    quoted(value);
    comma_ = true;
}

void JsonWriter::plain_text(std::string_view value) {
    append_all(out_, "\""sv, value, "\""sv);
    comma_ = true;
}

void XmlWriter::escaped(std::string_view text) {
    append_escaped(out_, text, xml_special, [this](char c) {
        switch (c) {
            case '<':
                out_ += "&lt;";
                return;
            case '>':
                out_ += "&gt;";
                return;
            case '&':
                out_ += "&amp;";
                return;
            case '"':
                out_ += "&quot;";
                return;
            default:
                return;  // not allowed in XML 1.0 at all
        }
    });
}

void XmlWriter::plain_key(std::string_view name) {
    append_all(out_, "<member><name>"sv, name, "</name>"sv);
}

void XmlWriter::key(std::string_view name) {
    if (plain<true>(name)) return plain_key(name);
    out_ += "<member><name>";
    escaped(name);
    out_ += "</name>";
}

void XmlWriter::boolean(bool value) {
    out_ += value ? "<value><boolean>1</boolean></value>" : "<value><boolean>0</boolean></value>";
}

void XmlWriter::integer(std::int64_t value) {
    plain_text(integer_chars(value).view());
}

void XmlWriter::int32(std::int64_t value) {
    append_all(out_, "<value><i4>"sv, integer_chars(value).view(), "</i4></value>"sv);
}

void XmlWriter::real(double value) {
    append_all(out_, "<value><double>"sv, real_chars(value, 16).view(), "</double></value>"sv);
}

void XmlWriter::text(std::string_view value) {
    if (plain<true>(value)) return plain_text(value);
    out_ += "<value>";
    escaped(value);
    out_ += "</value>";
}

void XmlWriter::plain_text(std::string_view value) {
    append_all(out_, "<value>"sv, value, "</value>"sv);
}

void XmlWriter::datetime(std::string_view value) {
    append_all(out_, "<value><dateTime.iso8601>"sv, value, "</dateTime.iso8601></value>"sv);
}

void write(const Value& value, JsonWriter& writer) {
    write_value(value, writer);
}

void write(const Value& value, XmlWriter& writer) {
    write_value(value, writer);
}

}  // namespace basalt::wire
