// Boost.JSON reads, several times as fast as the library that the rest of the code uses; whatever
// it does not take is read again by that one, whose words for what is wrong are what clients get.
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/src.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "idl/runtime/value.hpp"

namespace basalt::wire {

namespace {

namespace quick = boost::json;

constexpr std::size_t depth_max = 200;

/// A Value that grows by the events of a parser.
class Tree {
  public:
    Value take() { return std::move(root_); }

    template <class T>
    bool put(T&& value) {
        place().data = std::forward<T>(value);
        return true;
    }

    bool put_unsigned(std::uint64_t value) {
        constexpr auto top = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
        if (value > top) return put(static_cast<double>(value));
        return put(static_cast<std::int64_t>(value));
    }

    template <class T>
    bool open(T&& value) {
        if (open_.size() > depth_max) throw std::invalid_argument("JSON nested too deeply");
        // Its elements grow only while it is innermost, so the pointers above it stay good.
        Value& here = place();
        here.data = std::forward<T>(value);
        open_.push_back(&here);
        return true;
    }

    bool key(std::string name) {
        std::get<Object>(open_.back()->data).push_back({std::move(name), {}});
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

  private:
    Value& place() {
        if (open_.empty()) return root_;
        if (auto* array = std::get_if<Array>(&open_.back()->data)) return array->emplace_back();
        return std::get<Object>(open_.back()->data).back().value;
    }

    Value root_;
    std::vector<Value*> open_;
};

/// Boost's events. False ends the parsing: the other parser shall judge.
struct Handler {
    using Error = boost::system::error_code;
    using Text = quick::string_view;

    static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
    static constexpr std::size_t max_array_size = max_object_size;
    static constexpr std::size_t max_key_size = max_object_size;
    static constexpr std::size_t max_string_size = max_object_size;

    Tree tree;
    std::string parts;  // of a text with escapes

    bool on_document_begin(Error& /*error*/) { return true; }

    bool on_document_end(Error& /*error*/) { return true; }

    bool on_object_begin(Error& /*error*/) { return tree.open(Object{}); }

    bool on_object_end(std::size_t /*count*/, Error& /*error*/) { return tree.close(); }

    bool on_array_begin(Error& /*error*/) { return tree.open(Array{}); }

    bool on_array_end(std::size_t /*count*/, Error& /*error*/) { return tree.close(); }

    bool on_key_part(Text text, std::size_t /*size*/, Error& /*error*/) { return keep(text); }

    bool on_key(Text text, std::size_t /*size*/, Error& /*error*/) { return tree.key(whole(text)); }

    bool on_string_part(Text text, std::size_t /*size*/, Error& /*error*/) { return keep(text); }

    bool on_string(Text text, std::size_t /*size*/, Error& /*error*/) {
        return tree.put(whole(text));
    }

    bool on_number_part(Text /*text*/, Error& /*error*/) { return true; }

    bool on_int64(std::int64_t value, Text /*text*/, Error& /*error*/) { return tree.put(value); }

    bool on_uint64(std::uint64_t value, Text /*text*/, Error& /*error*/) {
        return tree.put_unsigned(value);
    }

    bool on_double(double value, Text /*text*/, Error& error) {
        // Zero may have been "-0", and an infinity was a number too large.
        if (value == 0 || !std::isfinite(value)) error = quick::error::not_number;
        return !error && tree.put(value);
    }

    bool on_bool(bool value, Error& /*error*/) { return tree.put(value); }

    bool on_null(Error& /*error*/) { return tree.put(Null{}); }

    bool on_comment_part(Text /*text*/, Error& /*error*/) { return true; }

    bool on_comment(Text /*text*/, Error& /*error*/) { return true; }

  private:
    bool keep(Text text) {
        parts.append(text.data(), text.size());
        return true;
    }

    std::string whole(Text end) {
        if (parts.empty()) return {end.data(), end.size()};
        keep(end);
        return std::exchange(parts, {});
    }
};

std::optional<Value> parse_quickly(std::string_view text) {
    quick::parse_options options;
    options.max_depth = depth_max;
    options.numbers = quick::number_precision::precise;
    quick::basic_parser<Handler> parser(options);
    boost::system::error_code error;
    const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
    if (error || !parser.done() || read != text.size()) return std::nullopt;
    return parser.handler().tree.take();
}

/// The other parser's events.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
  public:
    Value take() { return tree_.take(); }

    bool null() override { return tree_.put(Null{}); }

    bool boolean(bool value) override { return tree_.put(value); }

    bool number_integer(number_integer_t value) override { return tree_.put(std::int64_t{value}); }

    bool number_unsigned(number_unsigned_t value) override { return tree_.put_unsigned(value); }

    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return tree_.put(value);
    }

    bool string(string_t& value) override { return tree_.put(std::move(value)); }

    bool binary(binary_t& /*value*/) override { return false; }

    bool start_object(std::size_t /*count*/) override { return tree_.open(Object{}); }

    bool key(string_t& name) override { return tree_.key(std::move(name)); }

    bool end_object() override { return tree_.close(); }

    bool start_array(std::size_t /*count*/) override { return tree_.open(Array{}); }

    bool end_array() override { return tree_.close(); }

    bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& error) override {
        throw std::invalid_argument(error.what());
    }

  private:
    Tree tree_;
};

}  // namespace

Value parse_json(std::string_view text) {
    if (auto value = parse_quickly(text)) return std::move(*value);
    Builder builder;
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

}  // namespace basalt::wire
