// JSON-RPC requests. What is understood can be written again and is then understood the same.
#include "idl/runtime/writers.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace {

using namespace basalt;

std::string written(const server::MethodCall& call) {
    std::string text = "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":1,\"params\":";
    wire::JsonWriter writer(text);
    writer.strict();
    wire::write(wire::Value(wire::Array(call.params)), writer);
    return text + "}";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view body(reinterpret_cast<const char*>(data), size);
    try {
        const server::MethodCall call = server::parse_json_call(body);
        fuzz::require(server::is_utf8(call.method), "what is understood is UTF-8");
        const std::string once = written(call);
        fuzz::require(written(server::parse_json_call(once)) == once, "written calls are stable");
        (void)server::failure_text(call, {"CODE", call.method});
    } catch (const server::HttpError&) {
        // Refused.
    }
    return 0;
}
