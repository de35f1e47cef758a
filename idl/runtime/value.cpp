#include "idl/runtime/value.hpp"

#include <array>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

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

/// Builds a Value from the parser's events.
class Builder : public nlohmann::json_sax<nlohmann::json> {
  public:
    Value take() { return std::move(root_); }

    bool null() override { return put(Null{}); }

    bool boolean(bool value) override { return put(value); }

    bool number_integer(number_integer_t value) override { return put(std::int64_t{value}); }

    bool number_unsigned(number_unsigned_t value) override {
        constexpr auto top = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
        if (value > top) return put(static_cast<double>(value));
        return put(static_cast<std::int64_t>(value));
    }

    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return put(value);
    }

    bool string(string_t& value) override { return put(std::move(value)); }

    bool binary(binary_t& /*value*/) override { return false; }

    bool start_object(std::size_t /*count*/) override { return open(Object{}); }

    bool key(string_t& name) override {
        std::get<Object>(open_.back()->data).push_back({std::move(name), {}});
        return true;
    }

    bool end_object() override { return close(); }

    bool start_array(std::size_t /*count*/) override { return open(Array{}); }

    bool end_array() override { return close(); }

    bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& error) override {
        throw std::invalid_argument(error.what());
    }

  private:
    Value& place() {
        if (open_.empty()) return root_;
        if (auto* array = std::get_if<Array>(&open_.back()->data)) return array->emplace_back();
        return std::get<Object>(open_.back()->data).back().value;
    }

    template <class T>
    bool put(T&& value) {
        place().data = std::forward<T>(value);
        return true;
    }

    template <class T>
    bool open(T&& value) {
        if (open_.size() > 200) throw std::invalid_argument("JSON nested too deeply");
        // Its elements grow only while it is innermost, so the pointers above it stay good.
        Value& here = place();
        here.data = std::forward<T>(value);
        open_.push_back(&here);
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    Value root_;
    std::vector<Value*> open_;
};

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

Value parse_json(std::string_view text) {
    Builder builder;
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

}  // namespace basalt::wire
