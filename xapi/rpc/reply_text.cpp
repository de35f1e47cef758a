// Answers with a value of the data model; apart from envelope.cpp, which needs no table of classes.
#include "idl/runtime/record_text.hpp"
#include "idl/runtime/writers.hpp"
#include "xapi/rpc/call_text.hpp"

namespace basalt::server {

namespace {

void write_reply(const MethodCall& call, const xenapi::Reply& reply, std::string& out) {
    const xenapi::TypeOps* const type = reply.type();
    if (type != nullptr && type->kind == xenapi::TypeKind::record) {
        const auto append =
            call.protocol == Protocol::xml ? xenapi::append_xml_record : xenapi::append_json_record;
        return append(xenapi::classes()[type->class_index], reply.value(), out);
    }
    if (call.protocol == Protocol::xml) {
        wire::XmlWriter writer(out);
        reply.write_xml(writer);
    } else {
        wire::JsonWriter writer(out);
        reply.write_json(writer);
    }
}

}  // namespace

std::string success_text(const MethodCall& call, const xenapi::Reply& reply) {
    std::string out;
    begin_success(call, out);
    write_reply(call, reply, out);
    end_success(call, out);
    return out;
}

std::string bare_text(const MethodCall& call, const xenapi::Reply& reply) {
    if (call.protocol != Protocol::xml) return success_text(call, reply);
    std::string out(xml_begin);
    write_reply(call, reply, out);
    out += xml_end;
    return out;
}

}  // namespace basalt::server
