#include "idl/runtime/writers.hpp"
#include "xapi/rpc/call_text.hpp"

namespace basalt::server {

namespace {

std::string id_text(const MethodCall& call) {
    std::string text;
    wire::JsonWriter writer(text);
    wire::write(call.id, writer);
    return text;
}

template <class Writer>
void write_texts(const std::vector<std::string>& texts, Writer& writer, std::size_t from) {
    writer.begin_array();
    for (std::size_t i = from; i < texts.size(); ++i) {
        writer.element();
        writer.text(texts[i]);
    }
    writer.end_array();
}

std::string xml_failure(const std::vector<std::string>& description) {
    std::string out(xml_begin);
    out +=
        "<value><struct><member><name>Status</name><value>Failure</value></member><member>"
        "<name>ErrorDescription</name>";
    wire::XmlWriter writer(out);
    write_texts(description, writer, 0);
    out += "</member></struct></value>";
    out += xml_end;
    return out;
}

}  // namespace

void begin_success(const MethodCall& call, std::string& out) {
    switch (call.protocol) {
        case Protocol::xml:
            out += xml_begin;
            out +=
                "<value><struct><member><name>Status</name><value>Success</value></member>"
                "<member><name>Value</name>";
            break;
        case Protocol::json1:
            out += "{\"result\":";
            break;
        case Protocol::json2:
            out += "{\"jsonrpc\":\"2.0\",\"result\":";
            break;
    }
}

void end_success(const MethodCall& call, std::string& out) {
    switch (call.protocol) {
        case Protocol::xml:
            out += "</member></struct></value>";
            out += xml_end;
            break;
        case Protocol::json1:
            out += ",\"error\":null,\"id\":" + id_text(call) + "}";
            break;
        case Protocol::json2:
            out += ",\"id\":" + id_text(call) + "}";
            break;
    }
}

std::string failure_text(const MethodCall& call, const std::vector<std::string>& description) {
    if (call.protocol == Protocol::xml) return xml_failure(description);
    std::string out;
    wire::JsonWriter writer(out);
    if (call.protocol == Protocol::json1) {
        out += "{\"result\":null,\"error\":";
        write_texts(description, writer, 0);
        out += ",\"id\":" + id_text(call) + "}";
        return out;
    }
    out += "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":";
    writer.text(description.empty() ? "" : description.front());
    out += ",\"data\":";
    wire::JsonWriter data(out);
    write_texts(description, data, 1);
    out += "},\"id\":" + id_text(call) + "}";
    return out;
}

}  // namespace basalt::server
