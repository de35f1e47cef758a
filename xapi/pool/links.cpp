#include "xapi/pool/links.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/rpc.hpp"
#include "base/stream_channel.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/pool/wire.hpp"

namespace basalt::pool {

namespace {

constexpr Duration watch_interval = 5s;

server::ResponseHead switching() {
    return {.status = "101 Switching Protocols",
            .headers = {{"Connection", "Upgrade"}, {"Upgrade", "basalt"}}};
}

std::string header_of(const server::HttpRequest& request, std::string_view name) {
    const std::string* value = request.header(name);
    return value == nullptr ? std::string() : *value;
}

Json error_answer(const ApiError& error) {
    Json words = Json::array({error.code()});
    for (const std::string& param : error.params())
        words.push_back(param);
    return {{"error", std::move(words)}};
}

/// The stream of an exchange, for code that wants to own one; ends with the handler.
class HandlersStream final : public Stream {
  public:
    explicit HandlersStream(Stream& stream) : stream_(stream) {}

    Task<std::size_t> read_some(std::span<char> buffer) override {
        return stream_.read_some(buffer);
    }

    Task<void> write(std::string_view bytes) override { return stream_.write(bytes); }

    void shutdown_write() override { stream_.shutdown_write(); }

    void close() override { stream_.close(); }

  private:
    Stream& stream_;
};

}  // namespace

struct MemberLinks::Member {
    explicit Member(Loop& loop) : arrived(loop) {}

    struct Waiting {
        std::unique_ptr<Stream> stream;
        Time since;
    };

    std::unique_ptr<Stream> offered;  // the agent's, until Hosts takes it
    std::weak_ptr<Loan> agent;
    std::map<std::string, Waiting> streams;
    Signal arrived;
    Time heard{};
    bool kept = false;
};

/// The host-agent protocol with a member's hostd: descriptors come as tokens of streams, which the
/// member has opened before it sent the frame.
class MemberLinks::FarChannel final : public rpc::Channel {
  public:
    FarChannel(MemberLinks& links, std::string uuid, std::unique_ptr<Stream> stream)
        : links_(links),
          uuid_(std::move(uuid)),
          inner_(rpc::stream_channel(links.parts_.loop, std::move(stream))) {}

    Task<rpc::Frame> receive() override {
        rpc::Frame frame = co_await inner_->receive();
        const auto tokens = frame.body.find(streams_key);
        if (tokens == frame.body.end() || !tokens->is_array()) co_return frame;
        for (const Json& token : *tokens)
            if (UniqueFd fd = links_.take_descriptor(uuid_, token))
                frame.fds.push_back(std::move(fd));
        co_return frame;
    }

    Task<void> send(rpc::Frame frame) override { return inner_->send(std::move(frame)); }

    void close() override { inner_->close(); }

  private:
    MemberLinks& links_;
    std::string uuid_;
    std::unique_ptr<rpc::Channel> inner_;
};

MemberLinks::MemberLinks(LinkParts parts) : parts_(std::move(parts)) {}

MemberLinks::~MemberLinks() = default;

void MemberLinks::add_routes(server::Router& router) {
    add_question(router, hello_path, &MemberLinks::hello);
    add_question(router, session_path, &MemberLinks::session);
    const auto carry = [&](std::string_view path,
                           Task<void> (MemberLinks::*serve)(server::Exchange&)) {
        router.add("POST", std::string(path), [this, serve](server::Exchange& exchange) {
            if (exchange.request().peer.pool_host.empty())
                throw server::HttpError(server::forbidden());
            return (this->*serve)(exchange);
        });
    };
    carry(agent_path, &MemberLinks::serve_agent);
    carry(stream_path, &MemberLinks::serve_stream);
    carry(relay_path, &MemberLinks::serve_relay);
}

void MemberLinks::add_question(server::Router& router, std::string_view path, Answer answer) {
    const auto serve = [](MemberLinks& links, Answer ask,
                          server::Exchange& exchange) -> Task<void> {
        if (exchange.request().peer.pool_host.empty()) throw server::HttpError(server::forbidden());
        const Json question = Json::parse(co_await exchange.body(), nullptr, false);
        Json said;
        try {
            said = (links.*ask)(exchange.request(), question);
        } catch (const ApiError& error) {
            said = error_answer(error);
        }
        co_await exchange.respond(
            server::ok_response(exchange.request(), "application/json", said.dump()));
    };
    router.add("POST", std::string(path), [this, serve, answer](server::Exchange& exchange) {
        return serve(*this, answer, exchange);
    });
}

std::shared_ptr<MemberLinks::Member> MemberLinks::member(const server::HttpRequest& request) {
    auto& known = members_[request.peer.pool_host];
    if (!known) known = std::make_shared<Member>(parts_.loop);
    return known;
}

Json MemberLinks::hello(const server::HttpRequest& request, const Json& /*question*/) {
    const core::Core& core = parts_.core;
    // Nobody joins a pool that does not exist yet: the first host seen becomes its coordinator.
    if (!core.booted) throw err::host_still_booting();
    const xenapi::Host& us = core.db.get(core.this_host);
    if (us.uuid == request.peer.pool_host) throw err::host_its_own_slave();
    member(request)->heard = parts_.loop.now();
    return {{"pool", core.db.get(core.pool).uuid},
            {"coordinator", us.uuid},
            {"fingerprint", parts_.fingerprint_sha256 ? parts_.fingerprint_sha256() : ""}};
}

Json MemberLinks::session(const server::HttpRequest& request, const Json& question) {
    const std::string ref = question.is_object() ? question.value("session", std::string()) : "";
    const Caller caller = parts_.sessions.caller(ref, request);
    return {{"user", caller.user},
            {"root", caller.root},
            {"pool", caller.pool},
            {"roles", static_cast<int>(caller.roles)}};
}

Task<void> MemberLinks::serve_agent(server::Exchange& exchange) {
    const std::string uuid = exchange.request().peer.pool_host;
    // As for hello: without a pool, this host would become the coordinator of one.
    if (!parts_.core.booted) throw server::HttpError(server::forbidden());
    const std::shared_ptr<Member> known = member(exchange.request());
    co_await exchange.begin(switching(), true);
    const auto loan = std::make_shared<Loan>(parts_.loop, exchange.take_over());
    // The newest connection is the good one: what is left of an earlier one is dead or will be.
    if (const auto earlier = known->agent.lock()) earlier->recall();
    known->agent = loan;
    known->offered = loan->stream();
    known->heard = parts_.loop.now();
    known->arrived.notify_all();
    log::info("member_connected", {{"host", uuid}, {"address", exchange.request().peer.address}});
    if (!std::exchange(known->kept, true))
        parts_.keep(uuid, [this, uuid] { return next_channel(uuid); });
    co_await loan->given_back();
    log::info("member_disconnected", {{"host", uuid}});
}

Task<std::unique_ptr<rpc::Channel>> MemberLinks::next_channel(std::string uuid) {
    const std::shared_ptr<Member> known = members_.at(uuid);
    while (!known->offered)
        co_await known->arrived.wait();
    co_return std::make_unique<FarChannel>(*this, uuid, std::move(known->offered));
}

Task<void> MemberLinks::serve_stream(server::Exchange& exchange) {
    const std::shared_ptr<Member> known = member(exchange.request());
    const std::string token = header_of(exchange.request(), token_header);
    if (token.empty() || known->streams.size() >= streams_max || known->streams.contains(token))
        throw server::HttpError(server::forbidden());
    const auto loan = std::make_shared<Loan>(parts_.loop, exchange.take_over());
    known->streams[token] = {loan->stream(), parts_.loop.now()};
    // Only now: who reads this may name the token.
    const std::string head = switching().text();
    co_await exchange.write(head);
    co_await loan->given_back();
}

UniqueFd MemberLinks::take_descriptor(const std::string& uuid, const Json& token) {
    const std::shared_ptr<Member> known = members_.at(uuid);
    auto found = known->streams.extract(token.is_string() ? token.get<std::string>() : "");
    if (found.empty() || !parts_.descriptor_of) {
        // The verb then fails for want of its descriptor, the connection goes on.
        log::warn("member_stream_missing", {{"host", uuid}});
        return UniqueFd();
    }
    return parts_.descriptor_of(std::move(found.mapped().stream));
}

Task<void> MemberLinks::serve_relay(server::Exchange& exchange) {
    const server::HttpRequest& request = exchange.request();
    server::Peer peer;
    peer.through = request.peer.pool_host;
    peer.unix_socket = header_of(request, door_header) == "unix";
    peer.trusted = peer.unix_socket && header_of(request, trusted_header) == "yes";
    peer.address = header_of(request, address_header);
    peer.tls = true;
    co_await exchange.begin(switching(), true);
    co_await server::serve_connection(parts_.loop,
                                      std::make_unique<HandlersStream>(exchange.take_over()),
                                      std::move(peer), parts_.router, parts_.core.limits, relayed_);
}

Task<void> MemberLinks::watch() {
    for (;;) {
        co_await sleep_for(parts_.loop, watch_interval);
        const Time now = parts_.loop.now();
        for (const auto& [uuid, known] : members_) {
            std::erase_if(known->streams, [now](const auto& entry) {
                return now - entry.second.since > stream_kept;
            });
            const auto agent = known->agent.lock();
            if (!agent || now - known->heard <= silence_max) continue;
            log::warn("member_silent", {{"host", uuid}});
            agent->recall();
        }
    }
}

void MemberLinks::close() {
    relayed_.draining = true;
    for (const auto& [uuid, known] : members_) {
        if (const auto agent = known->agent.lock()) agent->recall();
        known->streams.clear();
    }
}

}  // namespace basalt::pool
