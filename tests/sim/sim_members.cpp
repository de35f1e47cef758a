#include "tests/sim/sim_members.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "idl/records.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/rpc/endpoints.hpp"

namespace basalt::testing {

namespace {

constexpr Duration patience = std::chrono::hours(2);

/// One end of a wire that others can cut.
class Cable final : public Stream {
  public:
    explicit Cable(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}

    ~Cable() override { stream_->close(); }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        return stream_->read_some(buffer);
    }

    Task<void> write(std::string_view bytes) override { return stream_->write(bytes); }

    void shutdown_write() override { stream_->shutdown_write(); }

    void close() override { stream_->close(); }

  private:
    std::shared_ptr<Stream> stream_;
};

Task<std::unique_ptr<rpc::Channel>> connect(agent::sim::SimHost& host) {
    co_return host.connect();
}

std::string xml_call(const std::string& method, const std::vector<std::string>& params) {
    std::string out =
        "<?xml version='1.0'?><methodCall><methodName>" + method + "</methodName><params>";
    for (const std::string& param : params)
        out += "<param><value><string>" + param + "</string></value></param>";
    return out + "</params></methodCall>";
}

Task<void> converse(std::unique_ptr<Stream> stream, std::string request, std::string& answer) {
    co_await stream->write(request);
    stream->shutdown_write();
    std::string buffer(4096, '\0');
    for (;;) {
        const std::size_t got = co_await stream->read_some(buffer);
        if (got == 0) co_return;
        answer.append(buffer, 0, got);
    }
}

}  // namespace

// What stands before the coordinator; it goes and comes with it.
struct SimMembers::Front {
    Front(SimLoop& loop, Coordinator& xapi, server::Metrics& metrics)
        : sessions(xapi.core()),
          dispatcher(xapi.core(), xapi.apis(), sessions, metrics),
          links({.loop = loop,
                 .core = xapi.core(),
                 .sessions = sessions,
                 .router = router,
                 .keep =
                     [&xapi](std::string uuid, core::Hosts::Connect connect) {
                         xapi.keep_host(uuid, std::move(connect), uuid);
                     }}),
          server(loop, router, nullptr, xapi.core().limits) {
        server::add_rpc_routes(router, loop, dispatcher, xapi.core().limits);
        links.add_routes(router);
        watching = spawn(loop, "member watch", links.watch());
    }

    server::Router router;
    server::Sessions sessions;
    server::Dispatcher dispatcher;
    pool::MemberLinks links;
    server::Server server;
    std::shared_ptr<Job> watching;
};

SimMembers::SimMembers(std::uint64_t seed, int members) : pool(seed) {
    open_front();
    for (int i = 1; i <= members; ++i) {
        auto node = std::make_unique<Node>();
        Node& it = *node;
        agent::sim::Options options{.facts = agent::sim::facts_of(pool.loop, i)};
        options.facts.local_sr = {"file", "/sr/local" + std::to_string(i), ""};
        it.host = std::make_unique<agent::sim::SimHost>(pool.loop, std::move(options), pool.shared);
        const auto started = spawn(pool.loop, "start host", it.host->start());
        pool.until([&] { return started->finished(); });
        it.member = std::make_unique<member::Member>(
            pool.loop, member::MemberParts{.uuid = it.host->facts().uuid,
                                           .coordinator = "10.0.0.1",
                                           .dial = [this, &it] { return dial(it); },
                                           .connect_hostd = [&it] { return connect(*it.host); },
                                           .pool_secret = "secret",
                                           .follow = [](const std::string&) {},
                                           .restart = [] {}});
        it.member->add_routes(it.router, metrics_, it.limits);
        it.server = std::make_unique<server::Server>(pool.loop, it.router, nullptr, it.limits);
        it.member->start();
        nodes.push_back(std::move(node));
    }
    for (std::size_t i = 0; i < nodes.size(); ++i)
        pool.until([&] { return is_ready(i); });
}

SimMembers::~SimMembers() {
    for (const auto& node : nodes) {
        const auto stopped = spawn(pool.loop, "stop member", node->member->stop());
        pool.loop.run_until([&] { return stopped->finished(); }, patience);
        const auto closed = spawn(pool.loop, "stop server", node->server->stop(0s));
        pool.loop.run_until([&] { return closed->finished(); }, patience);
    }
    close_front();
    for (const auto& node : nodes) {
        const auto killed = spawn(pool.loop, "stop host", node->host->kill());
        pool.loop.run_until([&] { return killed->finished(); }, patience);
    }
}

void SimMembers::open_front() {
    front_ = std::make_unique<Front>(pool.loop, *pool.xapi, metrics_);
}

void SimMembers::close_front() {
    front_->watching->cancel();
    front_->links.close();
    const auto stopped = spawn(pool.loop, "stop front", front_->server.stop(0s));
    pool.loop.run_until([&] { return stopped->finished() && front_->watching->finished(); },
                        patience);
}

void SimMembers::crash_coordinator() {
    close_front();
    // The links are part of what dies; nothing of the coordinator may call them afterwards.
    std::unique_ptr<Front> dead = std::move(front_);
    pool.crash_xapi();
    dead.reset();
    open_front();
}

Task<std::unique_ptr<Stream>> SimMembers::dial(Node& node) {
    if (node.cut || !front_) throw boost::system::system_error(asio::error::host_unreachable);
    auto [near, far] = memory_streams(pool.loop);
    const std::shared_ptr<Stream> wire = std::move(near);
    std::erase_if(node.wires, [](const auto& old) { return old.expired(); });
    node.wires.push_back(wire);
    front_->server.serve(std::move(far), server::Scheme::http,
                         {.tls = true, .pool_host = node.host->facts().uuid});
    co_return std::make_unique<Cable>(wire);
}

void SimMembers::cut(std::size_t member, bool off) {
    Node& node = *nodes.at(member);
    node.cut = off;
    if (!off) return;
    for (const auto& wire : node.wires)
        if (const auto stream = wire.lock()) stream->close();
}

bool SimMembers::is_ready(std::size_t member) {
    const auto known = pool.db().by_uuid<xenapi::Host>(nodes.at(member)->host->facts().uuid);
    return known && pool.db().get(*known).enabled && pool.xapi->core().hosts->connected(*known);
}

xenapi::Ref<xenapi::Host> SimMembers::row(std::size_t member) {
    return *pool.db().by_uuid<xenapi::Host>(nodes.at(member)->host->facts().uuid);
}

std::string SimMembers::post(std::size_t member, const std::string& method,
                             const std::vector<std::string>& params, Client client) {
    const std::string body = xml_call(method, params);
    const std::string request =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\nConnection: close\r\n\r\n" + body;
    auto [near, far] = memory_streams(pool.loop);
    nodes.at(member)->server->serve(std::move(far), server::Scheme::http,
                                    {.unix_socket = client.unix_socket, .trusted = client.trusted});
    std::string answer;
    const auto job = spawn(pool.loop, "client", converse(std::move(near), request, answer));
    pool.until([&] { return job->finished(); });
    return answer;
}

std::string SimMembers::post(std::size_t member, const std::string& method,
                             const std::vector<std::string>& params) {
    return post(member, method, params, {});
}

}  // namespace basalt::testing
