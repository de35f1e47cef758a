#include "idl/runtime/writers.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

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

Number real_chars(double value, int digits) {
    Number number{};
    const int length =
        std::snprintf(number.buffer.data(), number.buffer.size(), "%.*g", digits, value);
    number.length = static_cast<std::size_t>(length);
    return number;
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
    comma();
    out_ += '"';
    out_ += name;
    out_ += "\":";
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
    if (std::strtod(number.buffer.data(), nullptr) != value) number = real_chars(value, 17);
    token(number.view());
    if (number.view().find_first_of(".e") == std::string_view::npos) out_ += ".0";
}

void JsonWriter::text(std::string_view value) {
    quoted(value);
    comma_ = true;
}

void JsonWriter::plain_text(std::string_view value) {
    out_ += '"';
    out_ += value;
    out_ += '"';
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
    out_ += "<member><name>";
    out_ += name;
    out_ += "</name>";
}

void XmlWriter::key(std::string_view name) {
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
    out_ += "<value><i4>";
    out_ += integer_chars(value).view();
    out_ += "</i4></value>";
}

void XmlWriter::real(double value) {
    out_ += "<value><double>";
    out_ += real_chars(value, 16).view();
    out_ += "</double></value>";
}

void XmlWriter::text(std::string_view value) {
    out_ += "<value>";
    escaped(value);
    out_ += "</value>";
}

void XmlWriter::plain_text(std::string_view value) {
    out_ += "<value>";
    out_ += value;
    out_ += "</value>";
}

void XmlWriter::datetime(std::string_view value) {
    out_ += "<value><dateTime.iso8601>";
    out_ += value;
    out_ += "</dateTime.iso8601></value>";
}

void write(const Value& value, JsonWriter& writer) {
    write_value(value, writer);
}

void write(const Value& value, XmlWriter& writer) {
    write_value(value, writer);
}

}  // namespace basalt::wire
