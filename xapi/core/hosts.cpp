#include "xapi/core/hosts.hpp"

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <set>

#include "base/context.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rpc.hpp"
#include "host-agent/api/terms.hpp"
#include "idl/errors.hpp"
#include "xapi/core/tracing.hpp"

namespace basalt::core {

namespace {
constexpr Duration retry_first = 50ms;
constexpr Duration retry_most = 2s;

// A stream is lost with its socket; every other verb with effects acts once under its id.
bool may_be_asked_again(const std::string& verb) {
    return agent::has_effect(verb) && verb != "vdi_import";
}

bool is_connection_lost(const std::exception_ptr& failure) {
    if (!failure || is_cancellation(failure)) return false;
    const ApiError error = as_api_error(failure);
    return error.code() == "INTERNAL_ERROR" && !error.params().empty() &&
           error.params().front() == rpc::connection_lost;
}
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
    Link(Hosts& hosts_in, std::string name_in, Connect connect_in, std::string uuid_in)
        : hosts(hosts_in),
          name(std::move(name_in)),
          connect(std::move(connect_in)),
          uuid(std::move(uuid_in)),
          changed(hosts_in.core_.loop) {}

    Hosts& hosts;
    std::string name;
    Connect connect;
    std::string uuid;
    xenapi::Ref<xenapi::Host> host;
    bool started = false;                      // start of day is over
    std::vector<std::function<void()>> early;  // what hostd told before
    std::unique_ptr<rpc::Peer> peer;
    std::unique_ptr<agent::Client> client;  // of this connection
    std::unique_ptr<agent::Client> steady;  // of this host: asks again
    std::set<std::string> asked;            // operations whose outcome has not landed
    std::vector<std::string> landed;        // to be acknowledged
    std::shared_ptr<Job> acknowledging;
    Signal changed;

    [[nodiscard]] bool usable() const { return started && peer && !peer->closed(); }

    Task<rpc::Reply> handle(rpc::Request request) override {
        throw err::internal_error("hostd may not call " + request.verb);
        co_return rpc::Reply{};
    }

    Task<void> on_event(std::string event, rpc::Json args) override {
        return agent::deliver(hosts.core_.loop, *this, std::move(event), std::move(args));
    }

    // What comes during the start of day may be newer than what that has read.
    void tell(std::function<void()> what) {
        if (started)
            what();
        else
            early.push_back(std::move(what));
    }

    void on_domain(agent::DomainInfo value) override {
        tell([this, value = std::move(value)] { hosts.watcher_.on_domain(host, value); });
    }

    void on_guest(agent::GuestFacts value) override {
        tell([this, value = std::move(value)] { hosts.watcher_.on_guest(host, value); });
    }

    void on_memory(agent::MemoryFacts value) override {
        tell([this, value = std::move(value)] { hosts.watcher_.on_memory(host, value); });
    }

    void on_nics(std::vector<agent::NicFacts> value) override {
        tell([this, value = std::move(value)] { hosts.watcher_.on_nics(host, value); });
    }

    void on_usage(agent::HostUsage value) override {
        if (started) hosts.watcher_.on_usage(host, std::move(value));
    }

    void on_state(agent::StateRef value) override {
        tell([this, value = std::move(value)] { hosts.watcher_.on_state(host, value); });
    }

    void on_term(std::int64_t value) override {
        if (value > hosts.core_.term) hosts.give_way(value);
    }
};

// A verb with effects on its way to its end, however often that takes.
struct Hosts::Question {
    std::string verb;
    rpc::Json args;
    rpc::Progress progress;
    bool cancelled = false;
    std::shared_ptr<Job> attempt;
    rpc::Reply reply;
    std::exception_ptr failure;
};

void Hosts::cut() {
    stopping_ = true;
    for (const auto& link : links_) {
        if (link->peer) link->peer->close();
        link->changed.notify_all();
    }
}

Task<void> Hosts::stop() {
    cut();
    for (const auto& job : jobs_)
        job->cancel();
    for (const auto& link : links_)
        if (link->acknowledging) jobs_.push_back(link->acknowledging);
    for (const auto& job : jobs_)
        co_await job->wait();
}

void Hosts::keep(std::string name, Connect connect, std::string uuid) {
    auto link = std::make_shared<Link>(*this, std::move(name), std::move(connect), std::move(uuid));
    const agent::Translate translate = [this](const ApiError& error) {
        return with_references(core_.db, error);
    };
    link->steady = std::make_unique<agent::Client>(
        core_.loop,
        [this, weak = std::weak_ptr(link)](std::string verb, rpc::Json args,
                                           rpc::Progress progress) {
            return ask(weak.lock(), std::move(verb), std::move(args), std::move(progress));
        },
        translate);
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
    link->early.clear();
    std::unique_ptr<rpc::Channel> channel = co_await link->connect();
    if (stopping_) co_return;
    link->peer = std::make_unique<rpc::Peer>(core_.loop, std::move(channel), link.get());
    link->client = std::make_unique<agent::Client>(
        core_.loop, *link->peer,
        [this](const ApiError& error) { return with_references(core_.db, error); });
    const auto pump = spawn(core_.loop, "agent pump " + link->name, link->peer->run());
    std::exception_ptr failure;
    try {
        agent::HostFacts facts =
            co_await link->client->hello({.xapi_version = core_.product.xapi_version});
        log::info("agent_connected",
                  {{"host", link->name}, {"uuid", facts.uuid}, {"boot_id", facts.boot_id}});
        if (!link->uuid.empty() && facts.uuid != link->uuid)
            throw err::host_unknown_to_master(facts.uuid);
        link->host = co_await watcher_.host_appeared(std::move(facts), *link->client);
        link->started = true;
        for (const auto& told : std::exchange(link->early, {}))
            told();
        link->changed.notify_all();
        start_acknowledging(link);
        co_await pump->wait();
    } catch (const std::exception& error) {
        failure = std::current_exception();
    }
    if (failure && !is_cancellation(failure))
        if (const auto newer = agent::newer_term(as_api_error(failure))) give_way(*newer);
    const bool was_started = std::exchange(link->started, false);
    link->peer->close();
    if (failure && is_cancellation(failure)) co_await asio::this_coro::reset_cancellation_state();
    co_await shielded(pump->wait());
    if (was_started && !stopping_) watcher_.host_lost(link->host);
    if (failure) std::rethrow_exception(failure);
}

agent::Host& Hosts::agent(xenapi::Ref<xenapi::Host> host) {
    for (const auto& link : links_)
        if (link->usable() && link->host == host) return *link->steady;
    throw err::host_offline(host);
}

Task<rpc::Reply> Hosts::ask(std::shared_ptr<Link> link, std::string verb, rpc::Json args,
                            rpc::Progress progress) {
    if (!link->usable()) throw err::host_offline(link->host);
    Traced traced = core_.tracing == nullptr
                        ? Traced()
                        : core_.tracing->within(log::current_trace(), "hostd." + verb, false);
    if (traced) args["trace"] = traced.text();
    traced.tag("peer.service", "hostd");
    traced.tag("xs.host.uuid", link->uuid);
    if (!may_be_asked_again(verb)) {
        std::exception_ptr failure;
        try {
            co_return co_await link->peer->call(std::move(verb), std::move(args), {},
                                                std::move(progress));
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
        traced.fail(failure);
        std::rethrow_exception(failure);
    }
    const auto question = std::make_shared<Question>();
    question->verb = verb;
    question->args = std::move(args);
    question->progress = std::move(progress);
    link->asked.insert(question->args.value("operation", std::string()));
    // A job of its own, so that a cancel becomes a wish to the host and not a loss of the outcome.
    const auto job = spawn(core_.loop, "ask " + verb, press(link, question));
    std::exception_ptr cancelled;
    try {
        co_await job->wait();
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    if (cancelled) {
        co_await asio::this_coro::reset_cancellation_state();
        question->cancelled = true;
        if (question->attempt) question->attempt->cancel();
        co_await shielded(job->wait());
    }
    question->progress = nullptr;
    core_.reach(verb, "answered");
    traced.fail(question->failure);
    if (question->failure) std::rethrow_exception(question->failure);
    co_return std::move(question->reply);
}

Task<void> Hosts::press(std::shared_ptr<Link> link, std::shared_ptr<Question> question) {
    for (;;) {
        question->failure = nullptr;
        question->attempt = spawn(core_.loop, "attempt", attempt(link, question));
        if (question->cancelled) question->attempt->cancel();
        co_await question->attempt->wait();
        if (!is_connection_lost(question->failure)) co_return;
        while (!link->usable() && !stopping_)
            co_await link->changed.wait();
        if (stopping_) co_return;
        log::warn("asked_again", {{"host", link->name},
                                  {"verb", question->verb},
                                  {"operation", question->args.value("operation", std::string())},
                                  {"trace", question->args.value("trace", std::string())}});
    }
}

Task<void> Hosts::attempt(std::shared_ptr<Link> link, std::shared_ptr<Question> question) {
    core_.reach(question->verb, "sent");
    try {
        question->reply =
            co_await link->peer->call(question->verb, question->args, {}, question->progress);
    } catch (const std::exception&) {
        question->failure = std::current_exception();
    }
    if (question->failure && !is_cancellation(question->failure))
        if (const auto newer = agent::newer_term(as_api_error(question->failure))) give_way(*newer);
}

void Hosts::give_way(std::int64_t term) {
    if (stopping_) return;
    log::error("superseded", {{"term", core_.term}, {"by", term}});
    core_.stopping = true;
    cut();
    if (superseded_) superseded_();
}

void Hosts::landed(std::vector<std::string> operations) {
    if (stopping_) return;
    for (const auto& link : links_) {
        for (const std::string& id : operations)
            if (link->asked.erase(id) != 0) link->landed.push_back(id);
        start_acknowledging(link);
    }
}

void Hosts::start_acknowledging(const std::shared_ptr<Link>& link) {
    if (stopping_ || link->landed.empty() || !link->usable()) return;
    if (link->acknowledging && !link->acknowledging->finished()) return;
    link->acknowledging = spawn(core_.loop, "acknowledge " + link->name, acknowledge(link));
}

// What is not acknowledged now is tried again with the next operation, or at the next connection.
Task<void> Hosts::acknowledge(std::shared_ptr<Link> link) {
    try {
        while (!stopping_ && link->usable() && !link->landed.empty()) {
            const std::vector<std::string> batch = link->landed;
            co_await core_.db.durable(core_.db.published());
            if (stopping_ || !link->usable()) break;
            co_await link->client->acknowledge({batch});
            link->landed.erase(link->landed.begin(),
                               link->landed.begin() + static_cast<std::ptrdiff_t>(batch.size()));
        }
    } catch (const ApiError& error) {
        log::warn("not_acknowledged", {{"host", link->name}, {"error", error.what()}});
    }
    // The job is over some turns from now, and what lands until then begins another.
    link->acknowledging.reset();
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

Task<void> Hosts::until_connected(xenapi::Ref<xenapi::Host> host) {
    const auto found = std::ranges::find(links_, host, [](const auto& each) { return each->host; });
    if (found == links_.end()) co_return;
    const std::shared_ptr<Link> link = *found;
    while (!link->usable() && !stopping_)
        co_await link->changed.wait();
}

Task<void> Hosts::ready() {
    while (!links_.empty() && !links_.front()->started)
        co_await links_.front()->changed.wait();
}

}  // namespace basalt::core
