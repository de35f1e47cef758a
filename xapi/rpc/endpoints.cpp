#include "xapi/rpc/endpoints.hpp"

#include <array>

#include "base/wait.hpp"
#include "xapi/core/fairness.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t inline_parse_max = std::size_t{16} * 1024;  // a quarter of a millisecond

using Parse = MethodCall (*)(std::string_view);

/// What all connections of a router share.
struct Decoding {
    Decoding(Loop& owner, std::uint64_t at_once) : loop(owner), gate(owner, at_once, 1) {}

    Loop& loop;
    core::FairGate gate;
};

Task<MethodCall> parse_apart(Decoding& decoding, Parse parse, const std::string& body,
                             std::string peer) {
    const auto place = co_await decoding.gate.enter({std::move(peer), {}});
    Loop& loop = decoding.loop;
    co_return co_await blocking(loop, [parse, &body] { return parse(body); });
}

Task<void> serve_call(Exchange& exchange, std::shared_ptr<Decoding> decoding, Answerer& answerer,
                      Parse parse) {
    std::string body;
    if (auto come = exchange.body_at_once()) {
        body = std::move(*come);
    } else {
        body = co_await exchange.body();
    }
    MethodCall call;
    if (body.size() <= inline_parse_max) {
        call = parse(body);
    } else {
        call = co_await parse_apart(*decoding, parse, body, exchange.request().peer.address);
    }
    co_await answerer.answer_text(exchange, std::move(call), std::move(body));
}

Task<void> serve_options(Exchange& exchange) {
    const HttpRequest& request = exchange.request();
    std::string allowed = "X-Requested-With";
    if (const std::string* asked = request.header("Access-Control-Request-Headers"))
        allowed = *asked + ", " + allowed;
    co_await exchange.respond(ok_response(request, "", "",
                                          {{"Access-Control-Allow-Origin", "*"},
                                           {"Access-Control-Allow-Headers", allowed},
                                           {"Access-Control-Allow-Methods", "PUT"}}));
}

}  // namespace

Parameters cors_headers() {
    return {{"Access-Control-Allow-Origin", "*"},
            {"Access-Control-Allow-Headers", "X-Requested-With"}};
}

std::string_view cors_lines() {
    return "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Requested-With\r\n";
}

void add_rpc_routes(Router& router, Loop& loop, Answerer& answerer, Limits& limits) {
    const auto decoding = std::make_shared<Decoding>(loop, limits.max(Limit::bodies_decoding));
    limits.use(Limit::bodies_decoding, [decoding] { return decoding->gate.in_use(); });
    const auto post = [&](const char* path, Parse parse) {
        router.add("POST", path, [decoding, &answerer, parse](Exchange& exchange) {
            return serve_call(exchange, decoding, answerer, parse);
        });
    };
    post("/", parse_xml_call);
    post("/RPC2", parse_xml_call);
    post("/json", parse_xml_call);
    post("/jsonrpc", parse_json_call);
    for (const char* path : {"/", "/json", "/jsonrpc"})
        router.add("OPTIONS", path, serve_options);
}

}  // namespace basalt::server
