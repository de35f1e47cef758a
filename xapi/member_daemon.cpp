#include "base/log.hpp"
#include "base/real_loop.hpp"
#include "base/real_net.hpp"
#include "base/rpc.hpp"
#include "xapi/cli/server.hpp"
#include "xapi/core/limits.hpp"
#include "xapi/daemon.hpp"
#include "xapi/member/member.hpp"
#include "xapi/member_api.hpp"
#include "xapi/role_file.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/rpc/loop_watch.hpp"
#include "xapi/rpc/server.hpp"

namespace basalt {

namespace {

constexpr Duration stop_grace = 2s;
constexpr std::uint16_t https_port = 443;

Task<std::unique_ptr<rpc::Channel>> connect_hostd(RealLoop& loop, std::string path) {
    co_return rpc::socket_channel(loop, co_await connect_unix(loop, std::move(path)));
}

Task<std::unique_ptr<Stream>> dial(RealLoop& loop, server::PoolConnector& connector,
                                   std::string address) {
    auto raw = co_await connect_tcp(loop, std::move(address), https_port);
    co_return co_await connector.connect(loop, std::move(raw));
}

Task<void> stop(server::Server& server, member::Member& member, RealLoop& loop) {
    co_await member.stop();
    co_await server.stop(stop_grace);
    loop.stop();
}

cli::MemberDoor door_of(member::Member& member) {
    return {.open_here =
                [&member](const server::Peer& peer) {
                    return std::make_unique<MemberApi>(member, peer);
                },
            .pass_on =
                [&member](server::Exchange& exchange, std::string body) {
                    return member.relay().connection(exchange, std::move(body));
                },
            .why_refused = [&member](const server::Peer& peer) -> std::optional<ApiError> {
                return member.why_refused(peer);
            }};
}

}  // namespace

int run_member(const Config& config, const std::string& coordinator) {
    const std::optional<server::PoolIdentity> identity = pool_identity(config);
    if (!identity) throw std::runtime_error("a member needs [pool] identity and certificates");
    RealLoop loop;
    ensure_client_certificate(config);
    server::TlsContext tls(config.tls_path, identity);
    server::PoolConnector connector(*identity);
    server::Metrics metrics;
    server::TurnWatch turns(metrics);
    turns.attach(loop);
    Limits limits;
    metrics.add([&limits] { return limits.text(); });
    std::function<void()> end;
    member::Member member(
        loop, {.uuid = config.host_uuid,
               .coordinator = coordinator,
               .dial = [&] { return dial(loop, connector, coordinator); },
               .connect_hostd = [&] { return connect_hostd(loop, config.hostd_socket); },
               .adopt = [&loop](UniqueFd fd) { return adopt_stream(loop, std::move(fd)); },
               .pool_secret = pool_secret(config),
               .follow =
                   [&config](std::string address) {
                       write_role(config.pool.role_path,
                                  {.coordinator = false, .address = address});
                   },
               .restart = [&end] { end(); }});
    server::Router router;
    server::add_manual_route(router, loop, config.manual_directory);
    server::add_static_route(router, loop, config.web_directory, config.web_policy);
    member.add_routes(router, metrics, limits);
    cli::add_member_cli_route(router, door_of(member));
    server::Server server(loop, router, &tls, limits);
    server::raise_descriptor_limit(limits);
    server::add_server_metrics(metrics, server);
    // Disks are served over NBD by the coordinator alone: that socket is closed.
    for (server::ListeningSocket& socket : server::inherited_sockets())
        if (socket.scheme != server::Scheme::nbd) server.listen(loop, std::move(socket));

    const auto watch = spawn(loop, "loop watch", server::watch_loop(loop, metrics));
    std::shared_ptr<Job> stopping;
    end = [&] {
        if (!stopping) stopping = spawn(loop, "stop", stop(server, member, loop));
    };
    loop.on_terminate(end);
    member.start();
    log::info("xapi_started", {{"role", "member"}, {"coordinator", coordinator}});
    loop.run();
    log::info("xapi_stopped");
    return EXIT_SUCCESS;
}

}  // namespace basalt
