// XML-RPC requests. What is understood can be written again and is then understood the same.
#include "idl/runtime/writers.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace {

using namespace basalt;

std::string written(const server::MethodCall& call) {
    std::string text = "<methodCall><methodName>m</methodName><params>";
    wire::XmlWriter writer(text);
    for (const wire::Value& value : call.params) {
        text += "<param>";
        wire::write(value, writer);
        text += "</param>";
    }
    return text + "</params></methodCall>";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view body(reinterpret_cast<const char*>(data), size);
    try {
        const server::MethodCall call = server::parse_xml_call(body);
        fuzz::require(server::is_utf8(call.method), "what is understood is UTF-8");
        // Integers lose their tag when they are written, so the second round is the fixed point.
        const std::string once = written(server::parse_xml_call(written(call)));
        fuzz::require(written(server::parse_xml_call(once)) == once, "written calls are stable");
    } catch (const server::HttpError&) {
        // Refused.
    }
    return 0;
}
