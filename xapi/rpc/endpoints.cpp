#include "xapi/rpc/endpoints.hpp"

#include <array>

#include "base/wait.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t inline_parse_max = std::size_t{64} * 1024;  // about a millisecond

using Parse = MethodCall (*)(std::string_view);

Task<MethodCall> parse_somewhere(Loop& loop, Parse parse, std::string body) {
    if (body.size() <= inline_parse_max) co_return parse(body);
    co_return co_await blocking(loop, [parse, body = std::move(body)] { return parse(body); });
}

Task<void> serve_call(Exchange& exchange, Loop& loop, Answerer& answerer, Parse parse) {
    std::string body = co_await exchange.body();
    MethodCall call = co_await parse_somewhere(loop, parse, std::move(body));
    co_await answerer.answer(exchange, std::move(call));
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

void add_rpc_routes(Router& router, Loop& loop, Answerer& answerer) {
    const auto post = [&](const char* path, Parse parse) {
        router.add("POST", path, [&loop, &answerer, parse](Exchange& exchange) {
            return serve_call(exchange, loop, answerer, parse);
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
