#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "idl/runtime/value.hpp"

namespace basalt::wire {

// The two writers have the same members, so that one template renders a type in both protocols:
//   begin_object() (key(name) VALUE end_member())* end_object()
//   begin_array() (element() VALUE)* end_array()
// They append to a string that the caller may drain at any moment.

/// Compact JSON as XenAPI clients get it: floats with a point, NaN and Infinity as bare tokens.
class JsonWriter {
  public:
    explicit JsonWriter(std::string& out) : out_(out) {}

    void begin_object() { open('{'); }

    void end_object() { close('}'); }

    void begin_array() { open('['); }

    void end_array() { close(']'); }

    void element() { comma(); }

    void end_member() {}

    /// `name` needs no escaping: the name of a field.
    void plain_key(std::string_view name);
    void key(std::string_view name);

    void null() { token("null"); }

    void boolean(bool value) { token(value ? "true" : "false"); }

    void integer(std::int64_t value);

    void int32(std::int64_t value) { integer(value); }

    void real(double value);
    void text(std::string_view value);
    /// Needs no escaping: references, enumerations.
    void plain_text(std::string_view value);

    void datetime(std::string_view value) { plain_text(value); }

    void void_value() { plain_text(""); }

    /// NaN and infinities as strings: what is written stays strict JSON (stored rows).
    void strict() { strict_ = true; }

  private:
    void comma() {
        if (comma_) out_ += ',';
        comma_ = false;
    }

    void open(char c) {
        out_ += c;
        comma_ = false;
    }

    void close(char c) {
        out_ += c;
        comma_ = true;
    }

    void token(std::string_view text) {
        out_ += text;
        comma_ = true;
    }

    void quoted(std::string_view text);

    std::string& out_;
    bool comma_ = false;
    bool strict_ = false;
};

/// XML-RPC as XenAPI clients get it: strings and integers untagged.
class XmlWriter {
  public:
    explicit XmlWriter(std::string& out) : out_(out) {}

    void begin_object() { out_ += "<value><struct>"; }

    void end_object() { out_ += "</struct></value>"; }

    void begin_array() { out_ += "<value><array><data>"; }

    void end_array() { out_ += "</data></array></value>"; }

    void element() {}

    void end_member() { out_ += "</member>"; }

    void plain_key(std::string_view name);
    void key(std::string_view name);

    void null() { out_ += "<value><nil/></value>"; }

    void boolean(bool value);
    void integer(std::int64_t value);
    void int32(std::int64_t value);
    void real(double value);
    void text(std::string_view value);
    void plain_text(std::string_view value);
    void datetime(std::string_view value);

    void void_value() { out_ += "<value></value>"; }

  private:
    void escaped(std::string_view text);

    std::string& out_;
};

void write(const Value& value, JsonWriter& writer);
void write(const Value& value, XmlWriter& writer);

/// A double with 16 digits, as XML-RPC shows it and expressions compare it.
[[nodiscard]] std::string real_text(double value);

}  // namespace basalt::wire
