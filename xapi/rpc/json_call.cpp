#include <algorithm>
#include <stdexcept>
#include <utility>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::server {

namespace {

using wire::Value;

[[noreturn]] void refuse(const std::string& text) {
    throw HttpError(internal_error("Jsonrpc.Malformed_method_request(\"" + text + "\")"));
}

[[noreturn]] void refuse_text(const std::string& text) {
    throw HttpError(internal_error("Yojson__Common.Json_error(\"" + text + "\")"));
}

std::string one_line(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

Value parsed(std::string_view body) {
    if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
        refuse_text("Blank input data");
    try {
        return wire::parse_json(body);
    } catch (const std::invalid_argument& error) {
        refuse_text(one_line(error.what()));
    }
}

/// The first member of that name; null: none.
Value* member(wire::Object& object, std::string_view name) {
    const auto at = std::ranges::find(object, name, &wire::Member::name);
    return at == object.end() ? nullptr : &at->value;
}

std::vector<Value> take_params(Value* params, Protocol protocol) {
    if (params == nullptr) {
        if (protocol == Protocol::json2) return {};
        refuse("Required field params is missing");
    }
    if (auto* array = std::get_if<wire::Array>(&params->data)) return std::move(*array);
    if (protocol == Protocol::json2 && params->get<wire::Object>() != nullptr)
        return {std::move(*params)};
    refuse("Invalid field 'params' in request body");
}

}  // namespace

MethodCall parse_json_call(std::string_view body) {
    MethodCall call;
    std::string repaired;
    if (!is_utf8(body)) {
        call.invalid_text = true;
        repaired = made_utf8(body);
        body = repaired;
    }
    Value request = parsed(body);
    auto* const object = std::get_if<wire::Object>(&request.data);
    if (object == nullptr) refuse("Invalid request body");
    const Value* version = member(*object, "jsonrpc");
    call.protocol = version == nullptr ? Protocol::json1 : Protocol::json2;
    const auto* number = version == nullptr ? nullptr : version->get<std::string>();
    if (version != nullptr && (number == nullptr || *number != "2.0"))
        refuse("Invalid field 'jsonrpc' in request body");
    Value* const method = member(*object, "method");
    if (method == nullptr) refuse("Required field method is missing");
    auto* const name = std::get_if<std::string>(&method->data);
    if (name == nullptr) refuse("Invalid field 'method' in request body");
    call.method = std::move(*name);
    call.params = take_params(member(*object, "params"), call.protocol);
    Value* const id = member(*object, "id");
    const bool usable =
        id != nullptr && (id->get<std::int64_t>() != nullptr || id->get<std::string>() != nullptr);
    if (!usable) refuse("Invalid field 'id' in request body");
    call.id = std::move(*id);
    return call;
}

}  // namespace basalt::server
