#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/log.hpp"
#include "base/real_loop.hpp"
#include "base/real_net.hpp"
#include "xapi/cli/server.hpp"
#include "xapi/config.hpp"
#include "xapi/coordinator.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/in_process_api.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/transfer/streams.hpp"

namespace {

using namespace basalt;

constexpr Duration stop_grace = 2s;

Task<std::unique_ptr<rpc::Channel>> connect_hostd(RealLoop& loop, std::string path) {
    co_return rpc::socket_channel(co_await connect_unix(loop, std::move(path)));
}

Task<void> stop(server::Server& server, Coordinator& coordinator, RealLoop& loop) {
    co_await server.stop(stop_grace);
    co_await coordinator.stop();
    loop.stop();
}

int serve(const Config& config) {
    RealLoop loop;
    db::SqliteStore store(loop, {.path = config.store_path});
    Coordinator coordinator(loop, store);
    coordinator.db().on_failed([](const std::string& reason) {
        // What was being written may or may not be there: only a fresh start from the store knows.
        log::error("store_failed", {{"reason", reason}});
        std::_Exit(EXIT_FAILURE);
    });
    server::ensure_certificate(
        config.tls_path,
        {.common_name = config.hostname,
         .addresses = {config.address.substr(0, config.address.find('/')), "127.0.0.1"}});
    server::TlsContext tls(config.tls_path);
    server::Metrics metrics;
    metrics.gauge("xapi_undeclared_errors", [&coordinator] {
        return static_cast<double>(coordinator.core().undeclared.seen().size());
    });
    server::Sessions sessions(coordinator.core());
    server::Dispatcher dispatcher(coordinator.core(), coordinator.apis(), sessions, metrics);
    server::Router router;
    server::HttpAuth auth(coordinator.core(), coordinator.apis(), sessions);
    auth.add_unserved(router);
    server::add_metrics_route(router, auth, metrics);
    transfer::add_routes(router, auth,
                         [&loop](UniqueFd fd) { return adopt_stream(loop, std::move(fd)); });
    cli::add_cli_route(router, [&dispatcher](const server::Peer& peer) {
        return std::make_unique<InProcessApi>(dispatcher, peer);
    });
    server::add_rpc_routes(router, loop, dispatcher);
    server::add_manual_route(router, loop, config.manual_directory);
    server::add_static_route(router, loop, config.web_directory);
    server::Server server(loop, router, &tls);
    for (server::ListeningSocket& socket : server::inherited_sockets())
        server.listen(loop, std::move(socket));

    coordinator.keep_host(
        "local", [&loop, path = config.hostd_socket] { return connect_hostd(loop, path); });
    const auto expiry = spawn(loop, "session expiry", sessions.expire_forever());
    const auto watch = spawn(loop, "loop watch", server::watch_loop(loop, metrics));
    std::shared_ptr<Job> stopping;
    loop.on_terminate([&] { stopping = spawn(loop, "stop", stop(server, coordinator, loop)); });
    log::info("xapi_started", {{"store", config.store_path}});
    loop.run();
    log::info("xapi_stopped");
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Basalt's XenAPI server"};
    std::string path;
    app.add_option("--config", path, "configuration file (TOML)")->required();
    CLI11_PARSE(app, argc, argv);
    try {
        return serve(read_config(path));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "xapi: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
