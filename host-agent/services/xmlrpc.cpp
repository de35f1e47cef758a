#include "host-agent/services/xmlrpc.hpp"

#include <pugixml.hpp>
#include <stdexcept>

#include "base/json.hpp"

namespace basalt::agent {

namespace {

constexpr int nested_max = 64;

struct TextWriter final : pugi::xml_writer {
    void write(const void* data, std::size_t size) override {
        text.append(static_cast<const char*>(data), size);
    }

    std::string text;
};

void write_value(pugi::xml_node parent, const Json& value) {
    pugi::xml_node node = parent.append_child("value");
    if (value.is_string()) {
        node.append_child("string").text().set(value.get_ref<const std::string&>().c_str());
    } else if (value.is_boolean()) {
        node.append_child("boolean").text().set(value.get<bool>() ? "1" : "0");
    } else if (value.is_number_float()) {
        node.append_child("double").text().set(value.get<double>());
    } else if (value.is_number()) {
        // As the API has whole numbers: a text.
        node.append_child("string").text().set(value.dump().c_str());
    } else if (value.is_array()) {
        pugi::xml_node data = node.append_child("array").append_child("data");
        for (const Json& one : value)
            write_value(data, one);
    } else if (value.is_object()) {
        pugi::xml_node record = node.append_child("struct");
        for (const auto& [name, one] : value.items()) {
            pugi::xml_node member = record.append_child("member");
            member.append_child("name").text().set(name.c_str());
            write_value(member, one);
        }
    } else {
        node.append_child("nil");
    }
}

Json read_value(const pugi::xml_node& value, int depth) {
    if (depth > nested_max) throw std::invalid_argument("nested too deeply");
    const pugi::xml_node typed = value.find_child(
        [](const pugi::xml_node& child) { return child.type() == pugi::node_element; });
    if (!typed) return value.text().get();
    const std::string kind = typed.name();
    if (kind == "boolean") return typed.text().get() == std::string("1");
    if (kind == "double") return typed.text().as_double();
    if (kind == "nil") return nullptr;
    if (kind == "array") {
        Json out = Json::array();
        for (const pugi::xml_node& one : typed.child("data").children("value"))
            out.push_back(read_value(one, depth + 1));
        return out;
    }
    if (kind == "struct") {
        Json out = Json::object();
        for (const pugi::xml_node& member : typed.children("member"))
            out[member.child("name").text().get()] = read_value(member.child("value"), depth + 1);
        return out;
    }
    return typed.text().get();
}

}  // namespace

std::string xmlrpc_call(const std::string& method, const Json& params) {
    pugi::xml_document document;
    pugi::xml_node call = document.append_child("methodCall");
    call.append_child("methodName").text().set(method.c_str());
    pugi::xml_node list = call.append_child("params");
    for (const Json& one : params)
        write_value(list.append_child("param"), one);
    TextWriter out;
    document.save(out, "", pugi::format_raw | pugi::format_no_declaration);
    return std::move(out.text);
}

XmlRpcAnswer parse_xmlrpc_answer(const std::string& text) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(
        text.data(), text.size(), pugi::parse_default | pugi::parse_ws_pcdata_single);
    if (!parsed) throw std::invalid_argument(parsed.description());
    const pugi::xml_node response = document.child("methodResponse");
    if (const pugi::xml_node fault = response.child("fault"))
        return {false, read_value(fault.child("value"), 0).dump()};
    const Json value = read_value(response.child("params").child("param").child("value"), 0);
    if (!value.is_object() || !value.contains("Status"))
        throw std::invalid_argument("no Status in the response");
    const bool success = value.at("Status") == "Success";
    const char* member = success ? "Value" : "ErrorDescription";
    if (!value.contains(member)) throw std::invalid_argument(std::string("no ") + member);
    return {success, value.at(member).dump()};
}

}  // namespace basalt::agent
