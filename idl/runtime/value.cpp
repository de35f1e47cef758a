#include "idl/runtime/value.hpp"

#include <array>
#include <cstdio>

#include "idl/errors.hpp"

namespace basalt::wire {

namespace {

template <class... Fs>
struct Overload : Fs... {
    using Fs::operator()...;
};

template <class Items, class Text>
std::string join(const Items& items, Text text) {
    std::string out;
    for (const auto& item : items) {
        if (!out.empty()) out += ';';
        out += text(item);
    }
    return out;
}

std::string float_text(double value) {
    std::array<char, 40> buffer{};
    const int length = std::snprintf(buffer.data(), buffer.size(), "%g", value);
    return {buffer.data(), static_cast<std::size_t>(length)};
}

/// A text between quotes, escaped as the peer's error texts are: decimal codes for other bytes.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += {'\\', c};
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\b') {
            out += "\\b";
        } else if (byte < 0x20 || byte >= 0x7f) {
            std::array<char, 8> code{};
            std::snprintf(code.data(), code.size(), "\\%03d", static_cast<int>(byte));
            out += code.data();
        } else {
            out += c;
        }
    }
    return out + '"';
}

}  // namespace

const Value* Value::find(std::string_view name) const {
    const auto* object = get<Object>();
    if (object == nullptr) return nullptr;
    for (const Member& member : *object) {
        if (member.name == name) return &member.value;
    }
    return nullptr;
}

std::string Value::debug_text() const {
    return std::visit(
        Overload{
            [](Null) { return std::string("N"); },
            [](bool b) { return std::string(b ? "B(true)" : "B(false)"); },
            [](std::int64_t i) { return "I(" + std::to_string(i) + ")"; },
            [](double d) { return "F(" + float_text(d) + ")"; },
            [](const std::string& s) { return "S(" + s + ")"; },
            [](const DateTimeText& t) { return "D(" + t.text + ")"; },
            [](const Array& items) {
                return "[" + join(items, [](const Value& v) { return v.debug_text(); }) + "]";
            },
            [](const Object& members) {
                return "{" +
                       join(members,
                            [](const Member& m) { return m.name + ":" + m.value.debug_text(); }) +
                       "}";
            },
        },
        data);
}

void fail(std::string_view message) {
    throw err::internal_error("Failure(" + quoted(message) + ")");
}

void fail_expected(std::string_view what, const Value& value) {
    fail("Expected " + std::string(what) + ", got '" + value.debug_text() + "'");
}

}  // namespace basalt::wire
