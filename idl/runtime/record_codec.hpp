#pragma once
#include <string>
#include <string_view>

#include "idl/runtime/model.hpp"

namespace basalt::xenapi {

/// All visible fields, in wire order.
void write_record(const ClassInfo& cls, const void* record, wire::JsonWriter& writer);
void write_record(const ClassInfo& cls, const void* record, wire::XmlWriter& writer);

enum class RecordMode : std::uint8_t {
    constructor,  ///< the argument of `create`: StaticRO and RW fields
    full,         ///< every visible field: what another host or an export sends
};

/// Fills a fresh record from a struct. Unknown members are ignored, absent ones keep their default;
/// absent without a default: INTERNAL_ERROR naming Dispatcher_FieldNotFound.
void read_record(const ClassInfo& cls, const wire::Value& from, void* record, RecordMode mode);

/// Appends the stored form: a compact JSON object of the fields with FieldInfo::stored(), internal
/// ones included, and of `unknown_fields` (a JSON object, or empty).
void write_stored(const ClassInfo& cls, const void* record, std::string& out,
                  std::string_view unknown_fields = {});

/// Reads what write_stored() wrote, perhaps of another version: absent fields keep their default,
/// unknown ones are returned as a JSON object text (empty: none). Throws std::invalid_argument on
/// malformed text, ApiError on a value of the wrong type.
void read_stored(const ClassInfo& cls, std::string_view text, void* record,
                 std::string& unknown_fields);

/// The params struct of a message from its wire parameters; absent ones keep their default.
/// `args` has at least `message.required` elements, without the session.
void read_params(const MessageInfo& message, std::span<const wire::Value> args, void* params);

}  // namespace basalt::xenapi
