#include "idl/runtime/writers.hpp"

#include <array>
#include <charconv>
#include <cmath>

#include "idl/runtime/text_copy.hpp"

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

using detail::Form;

/// Appends `text` between `before` and `after`, as nearly every text is written: as it is. Returns
/// the size of `text`; less when it stopped before a byte that may have to be escaped.
template <Form F>
std::size_t append_plain(std::string& out, std::string_view before, std::string_view text,
                         std::string_view after) {
    const std::size_t start = out.size();
    std::size_t plain = 0;
    out.resize_and_overwrite(
        start + before.size() + text.size() + after.size() + detail::copy_slack,
        [&](char* data, std::size_t /*size*/) {
            char* to = data + start;
            to += before.copy(to, before.size());
            plain = detail::copy_plain<F>(to, text);
            to += plain;
            if (plain == text.size()) to += after.copy(to, after.size());
            return static_cast<std::size_t>(to - data);
        });
    return plain;
}

template <Form F>
void append_escaped(std::string& out, std::string_view text) {
    detail::Tail tail(out, text.size());
    tail.put_escaped<F>(text);
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
    const std::size_t plain = append_plain<Form::json>(out_, "\""sv, text, "\""sv);
    if (plain == text.size()) return;
    append_escaped<Form::json>(out_, text.substr(plain));
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
    append_escaped<Form::xml>(out_, text);
}

void XmlWriter::plain_key(std::string_view name) {
    append_all(out_, "<member><name>"sv, name, "</name>"sv);
}

void XmlWriter::key(std::string_view name) {
    const std::size_t plain = append_plain<Form::xml>(out_, "<member><name>"sv, name, "</name>"sv);
    if (plain == name.size()) return;
    escaped(name.substr(plain));
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
    const std::size_t plain = append_plain<Form::xml>(out_, "<value>"sv, value, "</value>"sv);
    if (plain == value.size()) return;
    escaped(value.substr(plain));
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
