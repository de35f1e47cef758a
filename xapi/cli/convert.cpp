#include "xapi/cli/convert.hpp"

#include <charconv>

namespace basalt::cli {

namespace {

using xenapi::TypeKind;

Task<wire::Value> reference(Facts& facts, std::string class_name, std::string text) {
    if (text.empty() || text == "null" || text == null_ref || text == not_in_database)
        co_return wire::Value(std::string(null_ref));
    co_return wire::Value(co_await facts.session().by_uuid(std::move(class_name), std::move(text)));
}

}  // namespace

Task<wire::Value> typed_value(Facts& facts, const xenapi::TypeOps* type, std::string name,
                              std::string text) {
    switch (type->kind) {
        case TypeKind::boolean:
            co_return wire::Value(parse_truth(name, text));
        case TypeKind::integer:
            co_return wire::Value(parse_bytes(name, text));
        case TypeKind::real: {
            double number = 0;
            const auto [end, error] =
                std::from_chars(text.data(), text.data() + text.size(), number);
            if (error != std::errc{} || end != text.data() + text.size())
                throw CommandError("Failed to parse parameter '" + name + "': expecting a number");
            co_return wire::Value(number);
        }
        case TypeKind::ref: {
            const xenapi::ClassInfo& cls = xenapi::classes()[type->class_index];
            co_return co_await reference(facts, std::string(cls.name), std::move(text));
        }
        case TypeKind::datetime:
            co_return wire::Value(wire::DateTimeText{std::move(text)});
        case TypeKind::set: {
            wire::Array out;
            for (std::string& item : split_items(text)) {
                wire::Value one = co_await typed_value(facts, type->item, name, std::move(item));
                out.push_back(std::move(one));
            }
            co_return wire::Value(std::move(out));
        }
        case TypeKind::map:
            throw CommandError("Parameter '" + name + "' is a map: give " + name + ":KEY=VALUE");
        default:
            co_return wire::Value(std::move(text));
    }
}

}  // namespace basalt::cli
