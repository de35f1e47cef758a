#include "idl/runtime/record_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "idl/runtime/datetime.hpp"
#include "idl/runtime/map.hpp"
#include "idl/runtime/text_copy.hpp"

namespace basalt::xenapi {

namespace {

using namespace std::string_view_literals;
using wire::detail::Form;
using wire::detail::Tail;
using TextMap = Map<std::string, std::string>;

/// How a field is written. The first ones here, the rest by the table of its type.
enum class Way : std::uint8_t { text, integer, real, boolean, datetime, ref, text_map, by_table };

Way way_of(const TypeOps& type) {
    switch (type.kind) {
        case TypeKind::string:
            return Way::text;
        case TypeKind::integer:
            return Way::integer;
        case TypeKind::real:
            return Way::real;
        case TypeKind::boolean:
            return Way::boolean;
        case TypeKind::datetime:
            return Way::datetime;
        case TypeKind::ref:
            return Way::ref;
        default:
            return &type == &type_ops<TextMap>() ? Way::text_map : Way::by_table;
    }
}

/// Whether the value is written between marks that do not depend on it.
bool is_quoted(Way way, Form form) {
    switch (way) {
        case Way::text:
        case Way::datetime:
        case Way::ref:
            return true;
        case Way::integer:
        case Way::real:
            return form == Form::xml && way == Way::integer;
        default:
            return false;
    }
}

bool is_collection(const TypeOps& type) {
    return type.kind == TypeKind::set || type.kind == TypeKind::map;
}

struct Field {
    const TypeOps* type;
    std::uint32_t offset;
    std::uint32_t key;  // where its key is among the keys
    std::uint16_t key_size;
    Way way;
    bool optional;                         // left out when it has no value
    std::shared_ptr<const void> empty;     // a set's or map's value that most of them have
    std::shared_ptr<const void> left_out;  // a value that a reader takes for granted; or null
};

/// A class's fields in the order of the wire, with all that stands between their values.
struct Plan {
    Form form = Form::json;
    bool strict = false;
    std::vector<Field> fields;
    std::string keys;  // each followed by 16 bytes that can be read

    Plan(Form written, bool strictly) : form(written), strict(strictly) {}

    void add(const FieldInfo& info, std::shared_ptr<const void> left_out = {}) {
        const Way way = way_of(*info.type);
        std::string key;
        if (form == Form::json) {
            key = ",\"" + std::string(info.name) + "\":";
            if (is_quoted(way, form)) key += '"';
        } else {
            key = "<member><name>" + std::string(info.name) + "</name>";
            if (way == Way::datetime) {
                key += "<value><dateTime.iso8601>";
            } else if (is_quoted(way, form)) {
                key += "<value>";
            }
        }
        const bool optional =
            info.type->kind == TypeKind::option || info.type->kind == TypeKind::any_record;
        fields.push_back({info.type, info.offset, static_cast<std::uint32_t>(keys.size()),
                          static_cast<std::uint16_t>(key.size()), way, optional,
                          is_collection(*info.type) ? info.type->make() : nullptr,
                          std::move(left_out)});
        keys += key;
        keys.append(wire::detail::copy_slack, ' ');
    }
};

/// The three forms of a class.
struct Plans {
    Plan json{Form::json, false};
    Plan xml{Form::xml, false};
    Plan stored{Form::json, true};
};

/// The value that a fresh record has in that field, when it is nothing: an empty text or set, zero,
/// the null reference. Only such are left out of what is stored, so that what a version takes for
/// granted means the same to the next one. Else null.
std::shared_ptr<const void> nothing_in(const FieldInfo& field, const void* fresh) {
    std::shared_ptr<const void> none = field.type->make();
    return field.type->equal(field.in(fresh), none.get()) ? none : nullptr;
}

std::vector<Plans> make_plans() {
    std::vector<Plans> plans(classes().size());
    for (const ClassInfo& cls : classes()) {
        Plans& mine = plans[cls.index];
        const std::shared_ptr<void> fresh = cls.record.create();
        for (const FieldInfo& field : cls.fields) {
            if (!field.internal_only) mine.json.add(field);
            if (!field.internal_only) mine.xml.add(field);
            if (field.stored()) mine.stored.add(field, nothing_in(field, fresh.get()));
        }
    }
    return plans;
}

const Plans& plans_of(const ClassInfo& cls) {
    static const std::vector<Plans> plans = make_plans();
    return plans[cls.index];
}

/// What is made for one value and then copied. One a thread, so that its memory stays.
std::string& scratch() {
    thread_local std::string text;
    text.clear();
    return text;
}

template <class T>
const T& as(const void* value) {
    return *static_cast<const T*>(value);
}

constexpr std::size_t number_size_max = 24;
constexpr std::string_view null_ref = "OpaqueRef:NULL";

void put_integer(std::int64_t value, Tail& tail) {
    tail.need(number_size_max);
    const char* const end = std::to_chars(tail.to(), tail.end(), value).ptr;
    tail.advance(static_cast<std::size_t>(end - tail.to()));
}

void put_ref(const Uuid& uuid, Tail& tail) {
    if (uuid.none()) return tail.put(null_ref);
    constexpr std::size_t uuid_size = ref_text_length - ref_prefix.size();
    tail.need(ref_text_length);
    tail.put(ref_prefix);
    uuid.write(tail.to());
    tail.advance(uuid_size);
}

void put_datetime(const DateTime& value, Tail& tail) {
    // "never", which most of them are
    if (value == DateTime{}) return tail.put("19700101T00:00:00Z"sv);
    const std::string text = value.text();
    tail.need(text.size());
    tail.put(text);
}

template <Form F>
void put_map(const TextMap& map, Tail& tail) {
    constexpr std::string_view begin = F == Form::json ? "{"sv : "<value><struct>"sv;
    constexpr std::string_view key = F == Form::json ? ",\""sv : "<member><name>"sv;
    constexpr std::string_view value = F == Form::json ? "\":\""sv : "</name><value>"sv;
    constexpr std::string_view next = F == Form::json ? "\""sv : "</value></member>"sv;
    constexpr std::string_view end = F == Form::json ? "}"sv : "</struct></value>"sv;
    constexpr std::size_t marks = begin.size() + key.size() + value.size() + next.size();
    tail.need(begin.size() + end.size());
    tail.put(begin);
    bool first = true;
    for (const auto& [name, text] : map) {
        tail.need(marks);
        tail.put(key.substr(F == Form::json && first ? 1 : 0));
        first = false;
        tail.put_escaped<F>(name);
        tail.need(marks);
        tail.put(value);
        tail.put_escaped<F>(text);
        tail.need(marks);
        tail.put(next);
    }
    tail.need(end.size());
    tail.put(end);
}

template <Form F>
void put_empty(const Field& field, Tail& tail) {
    const bool map = field.type->kind == TypeKind::map;
    if (F == Form::json) return tail.put(map ? "{}"sv : "[]"sv);
    if (map) return tail.put("<value><struct></struct></value>"sv);
    tail.put("<value><array><data></data></array></value>"sv);
}

/// By the writer of the form, where the value is nothing simple.
template <Form F>
void put_by_table(const Plan& plan, const Field& field, const void* value, Tail& tail) {
    if (field.empty != nullptr && field.type->equal(value, field.empty.get()))
        return put_empty<F>(field, tail);
    std::string& text = scratch();
    if constexpr (F == Form::json) {
        wire::JsonWriter writer(text);
        if (plan.strict) writer.strict();
        field.type->write_json(value, writer);
    } else {
        wire::XmlWriter writer(text);
        field.type->write_xml(value, writer);
    }
    tail.need(text.size());
    tail.put(text);
}

template <Form F>
void put_real(const Plan& plan, const Field& field, const void* value, Tail& tail) {
    constexpr double exact_max = 1e15;  // below it all digits of a whole number are written
    const double number = as<double>(value);
    const bool simple =
        std::abs(number) < exact_max && std::trunc(number) == number && !std::signbit(number);
    if (!simple) return put_by_table<F>(plan, field, value, tail);
    tail.need(2 * number_size_max + 2 * "<value><double>"sv.size());
    if (F == Form::xml) tail.put("<value><double>"sv);
    put_integer(static_cast<std::int64_t>(number), tail);
    tail.put(F == Form::json ? ".0"sv : "</double></value>"sv);
}

/// Whether the value stands between the marks of its key and `mark_after`.
template <Form F>
bool put_value(const Plan& plan, const Field& field, const void* value, Tail& tail) {
    switch (field.way) {
        case Way::text:
            tail.put_escaped<F>(as<std::string>(value));
            return true;
        case Way::integer:
            put_integer(as<std::int64_t>(value), tail);
            return F == Form::xml;
        case Way::ref:
            put_ref(as<Uuid>(value), tail);
            return true;
        case Way::datetime:
            put_datetime(as<DateTime>(value), tail);
            if (F == Form::xml) tail.put("</dateTime.iso8601>"sv);
            return true;
        case Way::boolean:
            if (F == Form::json) {
                tail.put(as<bool>(value) ? "true"sv : "false"sv);
            } else {
                tail.put(as<bool>(value) ? "<value><boolean>1</boolean></value>"sv
                                         : "<value><boolean>0</boolean></value>"sv);
            }
            return false;
        case Way::real:
            put_real<F>(plan, field, value, tail);
            return false;
        case Way::text_map:
            put_map<F>(as<TextMap>(value), tail);
            return false;
        case Way::by_table:
            put_by_table<F>(plan, field, value, tail);
            return false;
    }
    return false;
}

/// An option without a value.
bool is_absent(const Field& field, const void* value) {
    thread_local std::vector<std::pair<const TypeOps*, std::shared_ptr<void>>> known;
    for (const auto& [type, none] : known)
        if (type == field.type) return type->equal(value, none.get());
    return field.type->equal(value,
                             known.emplace_back(field.type, field.type->make()).second.get());
}

template <Form F>
void append_record(const Plan& plan, const void* record, std::string& out) {
    // Around a value, and what booleans, dates and empty maps are.
    constexpr std::size_t marks = 64;
    constexpr std::string_view begin = F == Form::json ? ""sv : "<value><struct>"sv;
    constexpr std::string_view quoted_end = F == Form::json ? "\""sv : "</value>"sv;
    constexpr std::string_view member_end = F == Form::json ? ""sv : "</member>"sv;
    constexpr std::string_view end = F == Form::json ? "}"sv : "</struct></value>"sv;
    const std::size_t start = out.size();
    Tail tail(out, plan.keys.size() + plan.fields.size() * 24);
    tail.put(begin);
    for (const Field& field : plan.fields) {
        const void* const value = static_cast<const std::byte*>(record) + field.offset;
        if (field.optional && is_absent(field, value)) continue;
        if (field.left_out != nullptr && field.type->equal(value, field.left_out.get())) continue;
        tail.need(field.key_size + marks);
        tail.put_padded(plan.keys.data() + field.key, field.key_size);
        const bool quoted = put_value<F>(plan, field, value, tail);
        tail.need(marks);
        if (quoted) tail.put(quoted_end);
        tail.put(member_end);
    }
    tail.need(marks);
    if (F == Form::json) {
        // The first member's comma is where the object begins.
        const bool empty = tail.written() == start;
        if (empty) tail.put("{"sv);
        out[start] = '{';
    }
    tail.put(end);
}

}  // namespace

void append_json_record(const ClassInfo& cls, const void* record, std::string& out) {
    append_record<Form::json>(plans_of(cls).json, record, out);
}

void append_xml_record(const ClassInfo& cls, const void* record, std::string& out) {
    append_record<Form::xml>(plans_of(cls).xml, record, out);
}

void append_stored_record(const ClassInfo& cls, const void* record, std::string& out) {
    append_record<Form::json>(plans_of(cls).stored, record, out);
}

namespace {

constexpr std::size_t cache_line = 64;

void prefetch(const void* from, std::size_t size) {
    for (std::size_t at = 0; at < size; at += cache_line)
        __builtin_prefetch(static_cast<const char*>(from) + at);
}

}  // namespace

void prefetch_record(const ClassInfo& cls, const void* record) {
    prefetch(record, cls.record.size);
}

void prefetch_parts(const ClassInfo& cls, const void* record) {
    constexpr std::size_t within_itself = 15;  // a text so short is a part of its field
    constexpr std::size_t far_ahead = 512;     // the processor itself goes on from there
    for (const Field& field : plans_of(cls).json.fields) {
        const void* const value = static_cast<const std::byte*>(record) + field.offset;
        if (field.way == Way::text) {
            const auto& text = as<std::string>(value);
            if (text.size() > within_itself)
                prefetch(text.data(), std::min(text.size(), far_ahead));
        } else if (field.way == Way::text_map) {
            const auto& map = as<TextMap>(value);
            if (!map.empty())
                prefetch(&*map.begin(), std::min(map.size() * sizeof *map.begin(), far_ahead));
        }
    }
}

}  // namespace basalt::xenapi
