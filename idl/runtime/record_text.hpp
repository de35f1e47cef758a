#pragma once
#include <string>

#include "idl/runtime/model.hpp"

namespace basalt::xenapi {

// Whole records as text: the very bytes that write_record() makes with the writers, in about half
// the time. For answers of many rows, and for what is stored. Any thread; `out` is appended to.

/// All visible fields.
void append_json_record(const ClassInfo& cls, const void* record, std::string& out);
void append_xml_record(const ClassInfo& cls, const void* record, std::string& out);
/// What is stored: a JSON object of the fields with FieldInfo::stored(), without those that hold
/// nothing where a fresh record does, too; NaN and infinities as strings.
void append_stored_record(const ClassInfo& cls, const void* record, std::string& out);

// Large answers read far more records than fit into a processor's caches, and wait for memory most
// of the time, unless they say in time what they will read: first the record, and when that has
// come, what it points to.

void prefetch_record(const ClassInfo& cls, const void* record);
void prefetch_parts(const ClassInfo& cls, const void* record);

}  // namespace basalt::xenapi
