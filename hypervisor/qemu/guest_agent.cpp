#include "hypervisor/qemu/guest_agent.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/qmp.hpp"
#include "base/real_net.hpp"
#include "hypervisor/qemu/guest_facts.hpp"

namespace basalt::hv::qemu {

namespace {

// A guest under emulation and load takes its time.
constexpr Duration sync_limit = 4s;
constexpr Duration answer_limit = 8s;

Task<std::unique_ptr<qmp::Client>> connect(RealLoop& loop, std::string socket) {
    std::unique_ptr<qmp::Client> client;
    try {
        client = std::make_unique<qmp::Client>(loop, co_await connect_unix(loop, socket));
        co_await client->connect_agent(sync_limit);
    } catch (const boost::system::system_error& error) {
        if (error.code() == asio::error::operation_aborted) throw;
        client.reset();
    } catch (const ApiError&) {
        client.reset();
    } catch (const qmp::Error&) {
        client.reset();
    }
    co_return client;
}

Task<Json> ask(qmp::Client& client, const char* command) {
    try {
        co_return co_await client.execute(command, Json::object(), answer_limit);
    } catch (const qmp::Error&) {
        co_return Json();  // not in this agent, or disabled by the guest's owner
    }
}

// Written inside the guest, which must not fill records.
std::string text_of(const Json& object, const char* key) {
    constexpr std::size_t bytes_max = 255;
    std::string text = text_member(object, key);
    if (text.size() > bytes_max) text.clear();
    return text;
}

}  // namespace

Task<std::optional<agent::GuestFacts>> ask_agent(RealLoop& loop, std::string socket,
                                                 std::vector<NicAttachment> nics) {
    const auto client = co_await connect(loop, std::move(socket));
    if (!client) co_return std::nullopt;
    agent::GuestFacts facts;
    facts.agent = true;
    try {
        const Json info = co_await ask(*client, "guest-info");
        facts.agent_version = text_of(info, "version");
        facts.features = guest_features(info);
        facts.os = os_version(co_await ask(*client, "guest-get-osinfo"));
        facts.hostname = text_of(co_await ask(*client, "guest-get-host-name"), "host-name");
        facts.networks =
            guest_networks(co_await ask(*client, "guest-network-get-interfaces"), nics);
    } catch (const ApiError&) {
        co_return std::nullopt;
    }
    co_return facts;
}

Task<bool> use_vcpus(RealLoop& loop, std::string socket, std::int64_t count) {
    const auto client = co_await connect(loop, std::move(socket));
    if (!client) co_return false;
    try {
        const auto wanted = vcpus_to_set(co_await ask(*client, "guest-get-vcpus"), count);
        if (!wanted) co_return false;
        if (wanted->empty()) co_return true;
        const Json set =
            co_await client->execute("guest-set-vcpus", {{"vcpus", *wanted}}, answer_limit);
        // It says how many it did; what it refused it leaves out.
        co_return set.is_number_integer() &&
            set.get<std::int64_t>() == static_cast<std::int64_t>(wanted->size());
    } catch (const qmp::Error&) {
        co_return false;
    } catch (const ApiError&) {
        co_return false;
    }
}

Task<bool> suspend_inside(RealLoop& loop, std::string socket) {
    const auto client = co_await connect(loop, std::move(socket));
    if (!client) co_return false;
    try {
        co_await client->execute("guest-suspend-ram", Json::object(), 1s);
    } catch (const qmp::Error&) {
        co_return false;
    } catch (const ApiError&) {
        // It answers only when it cannot.
    }
    co_return true;
}

Task<bool> tell_agent(RealLoop& loop, std::string socket, GuestRequest what) {
    const auto client = co_await connect(loop, std::move(socket));
    if (!client) co_return false;
    const Json mode = {{"mode", what == GuestRequest::reboot ? "reboot" : "powerdown"}};
    try {
        co_await client->execute("guest-shutdown", mode, 1s);
    } catch (const qmp::Error&) {
        co_return false;
    } catch (const ApiError&) {
        // An agent that obeys never answers.
    }
    co_return true;
}

}  // namespace basalt::hv::qemu
