#include "idl/runtime/codec.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>

namespace basalt::xenapi {

bool operator==(const AnyRecord& a, const AnyRecord& b) {
    if (a.cls != b.cls || a.has_value() != b.has_value()) return false;
    return a.record == b.record || a.cls->record.equal(a.record.get(), b.record.get());
}

namespace detail {

const std::string& read_text(const wire::Value& from) {
    if (const auto* text = from.get<std::string>()) return *text;
    wire::fail_expected("string", from);
}

std::int64_t parse_integer(std::string_view text) {
    std::string digits;
    for (const char c : text) {
        if (c != '_') digits += c;
    }
    const bool negative = digits.starts_with('-');
    const char* begin = digits.data() + (negative || digits.starts_with('+') ? 1 : 0);
    const char* end = digits.data() + digits.size();
    int base = 10;
    if (end - begin > 2 && *begin == '0') {
        const char mark = ascii_lower(begin[1]);
        base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
        if (base != 10) begin += 2;
    }
    std::uint64_t magnitude = 0;
    const auto parsed = std::from_chars(begin, end, magnitude, base);
    const std::uint64_t limit =
        base == 10 ? (std::uint64_t{1} << 63U) - (negative ? 0 : 1) : ~std::uint64_t{0};
    if (parsed.ec != std::errc{} || parsed.ptr != end || magnitude > limit) {
        wire::fail("Int64.of_string");
    }
    return static_cast<std::int64_t>(negative ? ~magnitude + 1 : magnitude);
}

std::int64_t read_integer(const wire::Value& from) {
    if (const auto* number = from.get<std::int64_t>()) return *number;
    if (const auto* text = from.get<std::string>()) return parse_integer(*text);
    wire::fail_expected("int64", from);
}

double read_real(const wire::Value& from) {
    if (const auto* number = from.get<double>()) return *number;
    if (const auto* number = from.get<std::int64_t>()) return static_cast<double>(*number);
    const auto* text = from.get<std::string>();
    if (text == nullptr) wire::fail_expected("float", from);
    char* end = nullptr;
    const double value = std::strtod(text->c_str(), &end);
    if (text->empty() || end != text->c_str() + text->size()) wire::fail("float_of_string");
    return value;
}

bool read_boolean(const wire::Value& from) {
    if (const auto* value = from.get<bool>()) return *value;
    wire::fail_expected("bool", from);
}

DateTime read_datetime(const wire::Value& from) {
    const auto* tagged = from.get<wire::DateTimeText>();
    const auto* plain = from.get<std::string>();
    if (tagged == nullptr && plain == nullptr) wire::fail_expected("DateTime", from);
    const std::string& text = tagged != nullptr ? tagged->text : *plain;
    const auto moment = DateTime::parse(text);
    if (!moment) wire::fail("date_of_iso8601: " + text);
    return *moment;
}

const wire::Array& read_array(const wire::Value& from) {
    if (const auto* items = from.get<wire::Array>()) return *items;
    wire::fail_expected("list", from);
}

const wire::Object& read_object(const wire::Value& from) {
    if (const auto* members = from.get<wire::Object>()) return *members;
    wire::fail_expected("dictionary", from);
}

void fail_enum() {
    wire::fail("Unknown tag/contents");
}

std::string db_atom(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += '\\';
        out += c;
    }
    return out + "'";
}

template <class W>
void write_event(const WireEvent& event, W& writer) {
    const auto text = [&writer](std::string_view name, std::string_view value) {
        writer.plain_key(name);
        writer.text(value);
        writer.end_member();
    };
    writer.begin_object();
    text("id", event.id);
    text("timestamp", event.timestamp);
    text("class", event.class_name);
    text("operation", event.operation);
    text("ref", ref_text(event.ref));
    if (event.snapshot.has_value()) {
        writer.plain_key("snapshot");
        write_record(*event.snapshot.cls, event.snapshot.record.get(), writer);
        writer.end_member();
    }
    writer.end_object();
}

template <class W>
void write_batch(const EventBatch& batch, W& writer) {
    // Clients have always seen the classes in falling byte order of their wire names.
    std::map<std::string_view, std::int64_t, std::greater<>> counts;
    for (const ClassInfo& cls : classes())
        counts[cls.name] = 0;
    for (const auto& count : batch.valid_ref_counts) {
        counts[classes()[count.class_index].name] = count.rows;
    }
    writer.begin_object();
    writer.plain_key("events");
    Codec<std::vector<WireEvent>>::write(batch.events, writer);
    writer.end_member();
    writer.plain_key("valid_ref_counts");
    writer.begin_object();
    for (const auto& [name, rows] : counts) {
        writer.plain_key(find_class(name)->lower);
        writer.int32(rows);
        writer.end_member();
    }
    writer.end_object();
    writer.end_member();
    writer.plain_key("token");
    writer.text(batch.token);
    writer.end_member();
    writer.end_object();
}

template void write_event(const WireEvent&, wire::JsonWriter&);
template void write_event(const WireEvent&, wire::XmlWriter&);
template void write_batch(const EventBatch&, wire::JsonWriter&);
template void write_batch(const EventBatch&, wire::XmlWriter&);

}  // namespace detail

}  // namespace basalt::xenapi
