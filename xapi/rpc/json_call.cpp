#include <stdexcept>

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

std::vector<Value> params_of(const Value* params, Protocol protocol) {
    if (params == nullptr) {
        if (protocol == Protocol::json2) return {};
        refuse("Required field params is missing");
    }
    if (const auto* array = params->get<wire::Array>()) return *array;
    if (protocol == Protocol::json2 && params->get<wire::Object>() != nullptr) return {*params};
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
    const Value request = parsed(body);
    if (request.get<wire::Object>() == nullptr) refuse("Invalid request body");
    const Value* version = request.find("jsonrpc");
    call.protocol = version == nullptr ? Protocol::json1 : Protocol::json2;
    if (version != nullptr && *version != Value(std::string("2.0")))
        refuse("Invalid field 'jsonrpc' in request body");
    const Value* method = request.find("method");
    if (method == nullptr) refuse("Required field method is missing");
    if (method->get<std::string>() == nullptr) refuse("Invalid field 'method' in request body");
    call.method = *method->get<std::string>();
    call.params = params_of(request.find("params"), call.protocol);
    const Value* id = request.find("id");
    const bool usable =
        id != nullptr && (id->get<std::int64_t>() != nullptr || id->get<std::string>() != nullptr);
    if (!usable) refuse("Invalid field 'id' in request body");
    call.id = *id;
    return call;
}

}  // namespace basalt::server
