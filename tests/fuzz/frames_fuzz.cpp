// Host-agent frames: a peer with calls under way, whose other end says anything.
#include "agent_values.hpp"
#include "base/rpc.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace basalt;

// Decodes as hostd and xapi do: any exception becomes the answer.
struct Decoder final : rpc::Handler {
    Task<rpc::Reply> handle(rpc::Request request) override {
        const auto spec = request.args.get<agent::VmSpec>();
        if (request.progress) request.progress(0.5);
        rpc::Reply reply;
        reply.result = spec;
        co_return reply;
    }

    Task<void> on_event(std::string /*name*/, rpc::Json args) override {
        events += args.get<agent::DomainInfo>().uuid.size();
        co_return;
    }

    std::size_t events = 0;
};

Task<void> serve(rpc::Peer& peer, bool& ended) {
    co_await peer.run();
    ended = true;
}

Task<void> call(rpc::Peer& peer, bool& ended) {
    try {
        (void)co_await peer.call("vm.start", rpc::Json::object(), {}, [](double) {});
    } catch (const std::exception&) {
        // The other end's error, or the end of the connection.
    }
    ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::be_quiet();
    SimLoop loop(1);
    Decoder decoder;
    rpc::Peer peer(
        loop,
        rpc::socket_channel(loop, std::make_unique<fuzz::ScriptStream>(fuzz::Input(data, size))),
        &decoder);
    bool served = false;
    bool called = false;
    spawn(loop, "call", call(peer, called));
    spawn(loop, "serve", serve(peer, served));
    loop.run_for(1h);
    fuzz::require(served, "serving ends with the connection");
    fuzz::require(called, "every call ends with the connection");
    fuzz::require(peer.closed(), "the peer knows that it is closed");
    return 0;
}
