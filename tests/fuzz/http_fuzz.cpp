// HTTP: requests in any pieces, against a router with every kind of handler.
#include <array>

#include "tests/fuzz/fuzz.hpp"
#include "xapi/rpc/connection.hpp"

namespace {

using namespace basalt;
using server::Exchange;

Task<void> echo(Exchange& exchange) {
    std::string body = co_await exchange.body();
    co_await exchange.respond(
        server::ok_response(exchange.request(), "text/plain", std::move(body)));
}

Task<void> swallow(Exchange& exchange) {
    server::ResponseHead head;
    co_await exchange.begin(head, true);
    std::array<char, 16> buffer;
    while (co_await exchange.read_body(buffer) > 0) {
    }
}

Task<void> tunnel(Exchange& exchange) {
    Stream& stream = exchange.take_over();
    std::array<char, 64> buffer;
    while (co_await stream.read_some(buffer) > 0) {
    }
}

server::Router routes() {
    server::Router router;
    router.add("POST", "/", echo);
    router.add("PUT", "/import", swallow);
    router.add("CONNECT", "/console", tunnel);
    return router;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::be_quiet();
    const fuzz::Input input(data, size);
    SimLoop loop(1);
    const server::Router router = routes();
    Limits limits;
    server::HttpCounts counts;
    auto [near, far] = memory_streams(loop);
    spawn(loop, "client", fuzz::say(std::move(near), input));
    spawn(loop, "connection",
          server::serve_connection(loop, std::move(far), {}, router, limits, counts));
    loop.run_for(1h);
    fuzz::require(counts.connections == 0, "a connection whose peer has ended ends");
    fuzz::require(counts.busy == 0, "no request is left under way");
    return 0;
}
