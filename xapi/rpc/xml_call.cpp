#include <charconv>
#include <cmath>
#include <pugixml.hpp>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::server {

namespace {

using wire::Value;

// The texts are those that clients of this API have always seen for malformed requests.
[[noreturn]] void refuse(const std::string& text) {
    throw HttpError(internal_error(text));
}

[[noreturn]] void refuse_tag(std::string_view found, std::string_view wanted) {
    refuse("Xmlrpc.Parse_error(\"open_tag(" + std::string(found) + ")\", \"open_tag(" +
           std::string(wanted) + ")\", _)");
}

struct Place {
    std::size_t line = 1;
    std::size_t column = 1;
};

Place place_of(std::string_view body, std::size_t offset) {
    Place place;
    for (std::size_t i = 0; i < offset && i < body.size(); ++i) {
        if (body[i] == '\n') {
            ++place.line;
            place.column = 0;
        }
        ++place.column;
    }
    return place;
}

[[noreturn]] void refuse_at(std::string_view body, std::size_t offset, std::string_view problem) {
    const Place place = place_of(body, offset);
    refuse("Xmlm.Error(" + std::to_string(place.line) + ":" + std::to_string(place.column) +
           ", \"" + std::string(problem) + "\")");
}

void check_parsed(std::string_view body, const pugi::xml_parse_result& result) {
    const std::size_t start = body.find_first_not_of(" \t\r\n");
    if (start == std::string_view::npos) refuse_at(body, 0, "unexpected end of input");
    if (body[start] != '<') refuse_at(body, start, "expected root element");
    if (result) return;
    const auto offset = static_cast<std::size_t>(result.offset);
    const bool cut_off = body.find('>', offset) == std::string_view::npos;
    if (cut_off) refuse_at(body, body.size(), "unexpected end of input");
    refuse_at(body, offset, "malformed character stream");
}

bool is_text(pugi::xml_node node) {
    return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata;
}

/// All text directly inside, comments left out.
std::string text_of(pugi::xml_node node) {
    std::string text;
    for (const pugi::xml_node child : node)
        if (is_text(child)) text += child.value();
    return text;
}

pugi::xml_node first_element(pugi::xml_node node) {
    for (const pugi::xml_node child : node)
        if (child.type() == pugi::node_element) return child;
    return {};
}

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::int64_t integer_of(const std::string& text) {
    std::string_view digits = trimmed(text);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size())
        refuse("Failure(\"Int64.of_string\")");
    return value;
}

double real_of(const std::string& text) {
    std::string_view digits = trimmed(text);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    double value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size())
        refuse("Failure(\"float_of_string\")");
    return value;
}

Value value_of(pugi::xml_node node, int depth);

Value array_of(pugi::xml_node array, int depth) {
    wire::Array items;
    for (const pugi::xml_node item : array.child("data")) {
        if (item.type() != pugi::node_element) continue;
        if (std::string_view(item.name()) != "value") refuse_tag(item.name(), "value");
        items.push_back(value_of(item, depth + 1));
    }
    return items;
}

Value struct_of(pugi::xml_node node, int depth) {
    wire::Object members;
    for (const pugi::xml_node member : node) {
        if (member.type() != pugi::node_element) continue;
        if (std::string_view(member.name()) != "member") refuse_tag(member.name(), "member");
        members.push_back(
            {text_of(member.child("name")), value_of(member.child("value"), depth + 1)});
    }
    return members;
}

Value value_of(pugi::xml_node node, int depth) {
    if (depth > depth_max) refuse("Failure(\"nested too deeply\")");
    const pugi::xml_node inner = first_element(node);
    if (!inner) return text_of(node);
    const std::string_view tag = inner.name();
    if (tag == "string" || tag == "base64") return text_of(inner);
    if (tag == "int" || tag == "i4" || tag == "i8") return integer_of(text_of(inner));
    if (tag == "boolean") return trimmed(text_of(inner)) == "1";
    if (tag == "double") return real_of(text_of(inner));
    if (tag == "dateTime.iso8601") return wire::DateTimeText{text_of(inner)};
    if (tag == "array") return array_of(inner, depth);
    if (tag == "struct") return struct_of(inner, depth);
    if (tag == "nil") return wire::Null{};
    refuse_tag(tag, "value");
}

void load(pugi::xml_document& document, std::string_view body) {
    // White space alone is text where it is all there is: <value> </value>.
    const unsigned options = pugi::parse_default | pugi::parse_ws_pcdata_single;
    check_parsed(body,
                 document.load_buffer(body.data(), body.size(), options, pugi::encoding_utf8));
}

}  // namespace

Value parse_xml_value(std::string_view text) {
    pugi::xml_document document;
    load(document, text);
    const pugi::xml_node root = document.document_element();
    if (std::string_view(root.name()) != "value") refuse_tag(root.name(), "value");
    return value_of(root, 0);
}

MethodCall parse_xml_call(std::string_view body) {
    MethodCall call;
    std::string repaired;
    if (!is_utf8(body)) {
        call.invalid_text = true;
        repaired = made_utf8(body);
        body = repaired;
    }
    pugi::xml_document document;
    load(document, body);
    const pugi::xml_node root = document.document_element();
    if (std::string_view(root.name()) != "methodCall") refuse_tag(root.name(), "methodCall");
    const pugi::xml_node name = first_element(root);
    if (std::string_view(name.name()) != "methodName") refuse_tag(name.name(), "methodName");
    call.method = trimmed(text_of(name));
    for (const pugi::xml_node param : root.child("params")) {
        if (param.type() != pugi::node_element) continue;
        if (std::string_view(param.name()) != "param") refuse_tag(param.name(), "param");
        call.params.push_back(value_of(param.child("value"), 0));
    }
    return call;
}

}  // namespace basalt::server
