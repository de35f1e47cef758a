// What a QEMU, a storage daemon or the agent inside a guest answers.
#include "base/qmp.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace basalt;

Task<void> talk(qmp::Client& client, bool agent, bool& ended) {
    try {
        if (agent) {
            co_await client.connect_agent(2s);
        } else {
            (void)co_await client.connect(2s);
        }
        const qmp::Json answer = co_await client.execute("guest-info", qmp::Json::object(), 2s);
        (void)hv::qemu::os_version(answer);
        hv::NicAttachment nic;
        nic.spec.mac = "02:00:00:00:00:01";
        (void)hv::qemu::guest_networks(answer, {nic});
    } catch (const ApiError&) {
        // Nothing usable came in time.
    } catch (const qmp::Error&) {
        // It refused.
    }
    ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::be_quiet();
    const fuzz::Input input(data, size);
    for (const bool agent : {false, true}) {
        SimLoop loop(1);
        auto [near, far] = memory_streams(loop);
        qmp::Client client(loop, std::move(far));
        std::size_t events = 0;
        client.on_event(
            [&events](const std::string&, const qmp::Json& details) { events += details.size(); });
        bool ended = false;
        bool closed = false;
        client.on_closed([&closed] { closed = true; });
        spawn(loop, "client", talk(client, agent, ended));
        spawn(loop, "server", fuzz::say(std::move(near), input));
        loop.run_for(1h);
        fuzz::require(ended, "every command ends in its time");
        fuzz::require(closed, "the end of the connection is told");
    }
    return 0;
}
