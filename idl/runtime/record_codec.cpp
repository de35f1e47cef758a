#include "idl/runtime/record_codec.hpp"

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "idl/errors.hpp"
#include "idl/runtime/record_text.hpp"

namespace basalt::xenapi {

namespace {

/// A default value of that type, made once: there are few types of options.
const void* none_of(const TypeOps& type) {
    thread_local std::vector<std::pair<const TypeOps*, std::shared_ptr<void>>> known;
    for (const auto& [known_type, none] : known)
        if (known_type == &type) return none.get();
    return known.emplace_back(&type, type.make()).second.get();
}

/// An option without a value is absent from its record.
bool absent(const FieldInfo& field, const void* value) {
    const TypeOps& type = *field.type;
    if (type.kind != TypeKind::option && type.kind != TypeKind::any_record) return false;
    return type.equal(value, none_of(type));
}

void write_value(const TypeOps& type, const void* value, wire::JsonWriter& writer) {
    type.write_json(value, writer);
}

void write_value(const TypeOps& type, const void* value, wire::XmlWriter& writer) {
    type.write_xml(value, writer);
}

template <class Writer>
void write_field(const FieldInfo& field, const void* record, Writer& writer) {
    const void* value = field.in(record);
    if (absent(field, value)) return;
    writer.plain_key(field.name);
    write_value(*field.type, value, writer);
    writer.end_member();
}

template <class Writer>
void write_visible(const ClassInfo& cls, const void* record, Writer& writer) {
    writer.begin_object();
    for (const FieldInfo& field : cls.fields) {
        if (!field.internal_only) write_field(field, record, writer);
    }
    writer.end_object();
}

bool taken(const FieldInfo& field, RecordMode mode) {
    if (field.internal_only) return false;
    return mode == RecordMode::full || field.qualifier != Qualifier::dynamic_ro;
}

}  // namespace

void write_record(const ClassInfo& cls, const void* record, wire::JsonWriter& writer) {
    write_visible(cls, record, writer);
}

void write_record(const ClassInfo& cls, const void* record, wire::XmlWriter& writer) {
    write_visible(cls, record, writer);
}

void read_record(const ClassInfo& cls, const wire::Value& from, void* record, RecordMode mode) {
    if (from.get<wire::Object>() == nullptr) wire::fail_expected("dictionary", from);
    for (const FieldInfo& field : cls.fields) {
        if (!taken(field, mode)) continue;
        if (const wire::Value* value = from.find(field.name)) {
            field.type->read(*value, field.in(record));
        } else if (!field.has_default && field.type->kind != TypeKind::option) {
            throw err::internal_error("Server_helpers.Dispatcher_FieldNotFound(\"" +
                                      std::string(field.name) + "\")");
        }
    }
}

void write_stored(const ClassInfo& cls, const void* record, std::string& out,
                  std::string_view unknown_fields) {
    const std::size_t start = out.size();
    append_stored_record(cls, record, out);
    if (unknown_fields.empty()) return;
    const wire::Value unknown = wire::parse_json(unknown_fields);
    const auto* members = unknown.get<wire::Object>();
    if (members == nullptr) throw std::invalid_argument("unknown fields are not an object");
    out.pop_back();
    bool first = out.size() == start + 1;
    for (const wire::Member& member : *members) {
        if (!std::exchange(first, false)) out += ',';
        wire::JsonWriter writer{out};
        writer.strict();
        writer.key(member.name);
        wire::write(member.value, writer);
    }
    out += '}';
}

void read_stored(const ClassInfo& cls, std::string_view text, void* record,
                 std::string& unknown_fields) {
    wire::Value row = wire::parse_json(text);
    auto* members = std::get_if<wire::Object>(&row.data);
    if (members == nullptr) throw std::invalid_argument("a stored row is not an object");
    wire::Object unknown;
    // Rows are written in the order of the fields, so the next field is nearly always the one.
    std::size_t next = 0;
    for (wire::Member& member : *members) {
        const FieldInfo* field = nullptr;
        for (std::size_t step = 0; step < cls.fields.size() && field == nullptr; ++step) {
            const FieldInfo& candidate = cls.fields[(next + step) % cls.fields.size()];
            if (candidate.name == member.name) field = &candidate;
        }
        if (field == nullptr) {
            unknown.push_back(std::move(member));
            continue;
        }
        next = field->index + std::size_t{1};
        field->type->read(member.value, field->in(record));
    }
    unknown_fields.clear();
    if (unknown.empty()) return;
    wire::JsonWriter writer{unknown_fields};
    writer.strict();
    wire::write(wire::Value{std::move(unknown)}, writer);
}

void read_params(const MessageInfo& message, std::span<const wire::Value> args, void* params) {
    for (std::size_t i = 0; i < message.params.size() && i < args.size(); ++i) {
        const ParamInfo& param = message.params[i];
        void* place = static_cast<std::byte*>(params) + param.offset;
        if (message.kind == MessageKind::create) {
            const ClassInfo& cls = classes()[message.class_index];
            read_record(cls, args[i], place, RecordMode::constructor);
        } else {
            param.type->read(args[i], place);
        }
    }
}

}  // namespace basalt::xenapi
