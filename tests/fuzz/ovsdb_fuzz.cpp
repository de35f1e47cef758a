// Answers of an OVSDB server: a client with a call under way, and what is read from the rows.
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "network-manager/ovsdb/client.hpp"
#include "network-manager/ovsdb/rows.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace basalt;
using nlohmann::json;

Task<void> serve(nm::ovsdb::Client& client, bool& ended) {
    co_await client.run();
    ended = true;
}

// As OvsNetwork reads: what is no snapshot becomes an error of the call.
Task<void> read(nm::ovsdb::Client& client, bool& ended) {
    try {
        const json results = co_await client.call("transact", json::array());
        nm::ovsdb::throw_on_failure(results);
        const nm::ovsdb::Snapshot snapshot = nm::ovsdb::parse_snapshot(results);
        (void)nm::ovsdb::bridges_of(snapshot);
        (void)nm::ovsdb::guest_ports(snapshot);
        (void)nm::ovsdb::find_place(snapshot, "xenbr0");
    } catch (const ApiError&) {
        // A refusal, or the end of the connection.
    }
    ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::be_quiet();
    const fuzz::Input input(data, size);
    SimLoop loop(1);
    auto [near, far] = memory_streams(loop);
    nm::ovsdb::Client client(loop, std::move(far), [](const json& tables) {
        fuzz::require(tables.is_object(), "an update has tables");
    });
    bool served = false;
    bool answered = false;
    spawn(loop, "read", read(client, answered));
    spawn(loop, "serve", serve(client, served));
    spawn(loop, "server", fuzz::say(std::move(near), input));
    loop.run_for(1h);
    fuzz::require(served, "reading ends with the connection");
    fuzz::require(answered, "every call ends with the connection");
    return 0;
}
