#include "xapi/core/hosts.hpp"

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::core {

namespace {
constexpr Duration retry_first = 50ms;
constexpr Duration retry_most = 2s;
}  // namespace

ApiError with_references(const db::Database& db, const ApiError& error) {
    std::vector<std::string> params = error.params();
    for (std::string& param : params) {
        if (!Uuid::parse(param)) continue;
        for (const char* name : {"VM", "VDI", "VBD", "VIF", "SR", "PBD", "network"}) {
            const db::RowPtr row = db.by_uuid(*xenapi::find_class(name), param);
            if (!row) continue;
            param = xenapi::ref_text(row->ref);
            break;
        }
    }
    return {error.code(), std::move(params)};
}

// One host's connection; also receives what its agent tells unasked.
struct Hosts::Link : rpc::Handler, agent::Events {
    Link(Hosts& hosts_in, std::string name_in, Connect connect_in)
        : hosts(hosts_in),
          name(std::move(name_in)),
          connect(std::move(connect_in)),
          changed(hosts_in.core_.loop) {}

    Hosts& hosts;
    std::string name;
    Connect connect;
    xenapi::Ref<xenapi::Host> host;
    bool started = false;  // start of day is over
    std::unique_ptr<rpc::Peer> peer;
    std::unique_ptr<agent::Client> client;
    Signal changed;

    Task<rpc::Reply> handle(rpc::Request request) override {
        throw err::internal_error("hostd may not call " + request.verb);
        co_return rpc::Reply{};
    }

    void on_event(std::string event, rpc::Json args) override {
        agent::deliver(*this, event, args);
    }

    // What comes before the row exists is read again by start of day.
    void on_domain(agent::DomainInfo value) override {
        if (started) hosts.watcher_.on_domain(host, std::move(value));
    }

    void on_guest(agent::GuestFacts value) override {
        if (started) hosts.watcher_.on_guest(host, std::move(value));
    }

    void on_nics(std::vector<agent::NicFacts> value) override {
        if (started) hosts.watcher_.on_nics(host, std::move(value));
    }
};

Task<void> Hosts::stop() {
    stopping_ = true;
    for (const auto& job : jobs_)
        job->cancel();
    for (const auto& link : links_)
        if (link->peer) link->peer->close();
    for (const auto& job : jobs_)
        co_await job->wait();
}

void Hosts::keep(std::string name, Connect connect) {
    auto link = std::make_shared<Link>(*this, std::move(name), std::move(connect));
    links_.push_back(link);
    jobs_.push_back(spawn(core_.loop, "agent " + link->name, keep_up(link)));
}

Task<void> Hosts::keep_up(std::shared_ptr<Link> link) {
    Duration wait = retry_first;
    while (!stopping_) {
        std::exception_ptr failure;
        try {
            co_await serve(link);
            wait = retry_first;
        } catch (const std::exception& error) {
            failure = std::current_exception();
        }
        if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
        if (failure)
            log::warn("agent_unreachable",
                      {{"host", link->name}, {"error", as_api_error(failure).what()}});
        co_await sleep_for(core_.loop, wait);
        wait = std::min(wait * 2, retry_most);
    }
}

Task<void> Hosts::serve(std::shared_ptr<Link> link) {
    link->client.reset();
    link->peer = std::make_unique<rpc::Peer>(core_.loop, co_await link->connect(), link.get());
    link->client = std::make_unique<agent::Client>(
        *link->peer, [this](const ApiError& error) { return with_references(core_.db, error); });
    const auto pump = spawn(core_.loop, "agent pump " + link->name, link->peer->run());
    std::exception_ptr failure;
    try {
        agent::HostFacts facts =
            co_await link->client->hello({.xapi_version = core_.product.xapi_version});
        log::info("agent_connected",
                  {{"host", link->name}, {"uuid", facts.uuid}, {"boot_id", facts.boot_id}});
        link->host = co_await watcher_.host_appeared(std::move(facts), *link->client);
        link->started = true;
        link->changed.notify_all();
        co_await pump->wait();
    } catch (const std::exception& error) {
        failure = std::current_exception();
    }
    const bool was_started = std::exchange(link->started, false);
    link->peer->close();
    if (failure && is_cancellation(failure)) co_await asio::this_coro::reset_cancellation_state();
    co_await shielded(pump->wait());
    if (was_started && !stopping_) watcher_.host_lost(link->host);
    if (failure) std::rethrow_exception(failure);
}

agent::Host& Hosts::agent(xenapi::Ref<xenapi::Host> host) {
    for (const auto& link : links_)
        if (link->started && link->host == host && !link->peer->closed()) return *link->client;
    throw err::host_offline(host);
}

bool Hosts::connected(xenapi::Ref<xenapi::Host> host) const {
    return std::ranges::any_of(
        links_, [&](const auto& link) { return link->started && link->host == host; });
}

agent::Host& Hosts::local() {
    if (links_.empty() || !links_.front()->client || links_.front()->peer->closed())
        throw err::host_still_booting();
    return *links_.front()->client;
}

Task<void> Hosts::ready() {
    while (!links_.empty() && !links_.front()->started)
        co_await links_.front()->changed.wait();
}

}  // namespace basalt::core
