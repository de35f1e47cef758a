#include <malloc.h>

#include <filesystem>

#include "base/durable_file.hpp"
#include "base/fault_points.hpp"
#include "base/log.hpp"
#include "base/real_loop.hpp"
#include "base/real_net.hpp"
#include "base/rpc.hpp"
#include "idl/records/host.hpp"
#include "xapi/cli/server.hpp"
#include "xapi/coordinator.hpp"
#include "xapi/core/audit_log.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/daemon.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/domain/diagnostics.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/vm.hpp"
#include "xapi/in_process_api.hpp"
#include "xapi/pool/links.hpp"
#include "xapi/pool/splice.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/rpc/loop_watch.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/transfer/bugreport.hpp"
#include "xapi/transfer/database.hpp"
#include "xapi/transfer/dial.hpp"
#include "xapi/transfer/figures.hpp"
#include "xapi/transfer/files.hpp"
#include "xapi/transfer/host_backup.hpp"
#include "xapi/transfer/nbd_server.hpp"
#include "xapi/transfer/streams.hpp"
#include "xapi/transfer/test_post.hpp"
#include "xapi/transfer/trace_export.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt {

namespace {

constexpr Duration stop_grace = 2s;
constexpr Duration restart_delay = 200ms;

Task<std::unique_ptr<rpc::Channel>> connect_hostd(RealLoop& loop, std::string path) {
    co_return rpc::socket_channel(loop, co_await connect_unix(loop, std::move(path)));
}

Task<void> carry(Loop& loop, std::unique_ptr<Stream> near, std::unique_ptr<Stream> far) {
    co_await pool::splice(loop, *near, *far);
}

UniqueFd descriptor_of(RealLoop& loop, std::unique_ptr<Stream> far) {
    auto [ours, theirs] = socket_pair();
    spawn(loop, "far descriptor", carry(loop, adopt_stream(loop, std::move(ours)), std::move(far)));
    return std::move(theirs);
}

core::Core::Identity identity_of(const std::string& path, server::TlsContext& tls) {
    core::Core::Identity out;
    out.pem_path = path;
    out.self_signed = [](std::string name, std::vector<std::string> addresses) {
        return server::make_self_signed(
            {.common_name = std::move(name), .addresses = std::move(addresses)});
    };
    out.write = [path](const std::string& pem) { write_durably(path, pem); };
    out.reload = [&tls] { tls.reload(); };
    return out;
}

// The host's row may not be there yet; and a certificate that cannot be read is told, not fatal.
Task<void> note_certificate(Coordinator& coordinator) {
    co_await coordinator.core().hosts->ready();
    co_await domain::note_own_certificate(coordinator.core());
}

std::optional<server::ClientAuthority> authority_of(std::optional<domain::ClientTrust> trust) {
    if (!trust) return std::nullopt;
    return server::ClientAuthority{.name = std::move(trust->name),
                                   .certificates = std::move(trust->certificates),
                                   .revocations = std::move(trust->revocations)};
}

// As an earlier xapi was asked to.
Task<void> admit_clients(Coordinator& coordinator) {
    std::string failure;
    try {
        co_await coordinator.pools().readmit_clients();
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty()) log::error("client_certificates_not_admitted", {{"error", failure}});
}

/// Whether an administrator has closed plain HTTP on this host, or all of the network.
bool is_closed(const core::Core& core, server::Scheme scheme) {
    const xenapi::Host* host = core.db.find(core.this_host);
    if (host == nullptr || scheme == server::Scheme::unix_socket) return false;
    const bool is_managed = !core.booted || !host->address.empty();
    return !is_managed || (scheme == server::Scheme::http && host->https_only);
}

std::vector<domain::Timing> timings_of(const server::Metrics& metrics) {
    std::vector<domain::Timing> out;
    for (server::Metrics::Timing& timing : metrics.timings())
        out.push_back({std::move(timing.name), timing.count, timing.sum_seconds});
    return out;
}

std::vector<domain::RequestCount> counts_of(const server::Router& router) {
    std::vector<domain::RequestCount> out;
    for (const server::Router::Route& route : router.routes())
        out.push_back({route.method, route.prefix, route.requests});
    return out;
}

Task<void> stop(server::Server& server, transfer::NbdServer& nbd, pool::MemberLinks& links,
                Coordinator& coordinator, RealLoop& loop) {
    links.close();
    co_await nbd.stop();
    co_await server.stop(stop_grace);
    co_await coordinator.stop();
    co_await coordinator.core().audit->flush();
    loop.stop();
}

}  // namespace

int run_coordinator(const Config& config, const std::string& fault_points) {
    RealLoop loop;
    db::SqliteStore store(loop, {.path = config.store_path});
    Coordinator coordinator(loop, store);
    // The load had every row as text beside its record: give that memory back.
    ::malloc_trim(0);
    coordinator.db().on_failed([](const std::string& reason) {
        // What was being written may or may not be there: only a fresh start from the store knows.
        log::error("store_failed", {{"reason", reason}});
        std::_Exit(EXIT_FAILURE);
    });
    if (!fault_points.empty())
        coordinator.core().probe = [points = FaultPoints(fault_points)](std::string_view what,
                                                                        std::string_view moment) {
            points.reach(std::string(what) + "/" + std::string(moment));
        };
    coordinator.on_superseded([] { std::_Exit(EXIT_FAILURE); });
    coordinator.core().pool_secret = pool_secret(config);
    ensure_client_certificate(config);
    server::TlsContext tls(config.tls_path, pool_identity(config));
    coordinator.core().files =
        (std::filesystem::path(config.store_path).parent_path() / "files").string();
    std::filesystem::create_directories(coordinator.core().files);
    core::sweep_blob_files(coordinator.core());
    core::AuditLog audit(loop, coordinator.core().files + "/audit.log");
    coordinator.core().audit = &audit;
    coordinator.core().identity = identity_of(config.tls_path, tls);
    server::Metrics metrics;
    metrics.gauge("xapi_undeclared_errors", [&coordinator] {
        return static_cast<double>(coordinator.core().undeclared.seen().size());
    });
    coordinator.hosts().time_by([&metrics] { return timings_of(metrics); });
    server::TurnWatch turns(metrics);
    turns.attach(loop);
    Limits& limits = coordinator.core().limits;
    metrics.add([&limits] { return limits.text(); });
    server::Sessions sessions(coordinator.core());
    server::Dispatcher dispatcher(coordinator.core(), coordinator.apis(), sessions, metrics);
    dispatcher.bound_by(coordinator.callers());
    server::Router router;
    coordinator.diagnostics().count_by([&router] { return counts_of(router); });
    server::HttpAuth auth(coordinator.core(), coordinator.apis(), sessions);
    auth.add_unserved(router);
    server::add_metrics_route(router, auth, metrics);
    const auto adopt = [&loop](UniqueFd fd) { return adopt_stream(loop, std::move(fd)); };
    coordinator.storage().read_by(adopt);
    const transfer::VmParts parts{coordinator.storage(), coordinator.network(), adopt};
    const auto dial = [&loop](std::string host, std::uint16_t port, bool secure) {
        return transfer::dial(loop, std::move(host), port, secure);
    };
    coordinator.vms().import_by([dial, parts](Call& call, xenapi::VmImport params) {
        return transfer::import_from(call, parts, dial, std::move(params));
    });
    coordinator.pools().post_by([&loop, dial](xenapi::PoolSendTestPost params) {
        return transfer::send_test_post(loop, dial, std::move(params));
    });
    coordinator.pools().admit_by([&tls](std::optional<domain::ClientTrust> trust) {
        tls.admit_clients(authority_of(std::move(trust)));
    });
    coordinator.hosts().upload_by([adopt, dial](Call& call, xenapi::HostBugreportUpload params) {
        return transfer::upload_bugreport(call, adopt, dial, std::move(params));
    });
    transfer::add_disk_routes(router, auth, parts);
    transfer::add_vm_routes(router, auth, parts);
    transfer::add_console_routes(router, auth, adopt);
    transfer::add_figure_routes(router, auth);
    transfer::add_blob_routes(router, auth, coordinator.core());
    transfer::add_status_routes(router, auth, adopt);
    std::shared_ptr<Job> stopping;
    std::function<void()> end;
    const transfer::DatabaseFiles database_files{
        .store = config.store_path, .host_uuid = config.host_uuid, .restart = [&loop, &end] {
            // The client still reads how its request ended.
            loop.at(loop.now() + restart_delay, [&end] { end(); });
        }};
    transfer::add_database_routes(router, auth, database_files);
    transfer::add_host_backup_routes(router, auth, database_files);
    cli::add_cli_route(router, [&dispatcher](const server::Peer& peer) {
        return std::make_unique<InProcessApi>(dispatcher, peer);
    });
    server::add_rpc_routes(router, loop, dispatcher, limits);
    server::add_manual_route(router, loop, config.manual_directory);
    server::add_static_route(router, loop, config.web_directory, config.web_policy);
    pool::MemberLinks links(
        {.loop = loop,
         .core = coordinator.core(),
         .sessions = sessions,
         .router = router,
         .keep =
             [&coordinator](std::string uuid, core::Hosts::Connect connect) {
                 coordinator.keep_host(uuid, std::move(connect), uuid);
             },
         .descriptor_of =
             [&loop](std::unique_ptr<Stream> far) { return descriptor_of(loop, std::move(far)); },
         .fingerprint_sha256 = [&tls] { return tls.fingerprint_sha256(); }});
    links.add_routes(router);
    server::Server server(loop, router, &tls, limits);
    server.refuse(
        [&coordinator](server::Scheme scheme) { return is_closed(coordinator.core(), scheme); });
    server::raise_descriptor_limit(limits);
    server::add_server_metrics(metrics, server);
    transfer::NbdServer nbd(coordinator.core(), sessions, adopt,
                            [&server](std::unique_ptr<Stream> stream, std::string peer) {
                                return server.start_tls(std::move(stream), std::move(peer));
                            });
    metrics.gauge("xapi_nbd_connections",
                  [&nbd] { return static_cast<double>(nbd.connections()); });
    for (server::ListeningSocket& socket : server::inherited_sockets()) {
        if (socket.scheme == server::Scheme::nbd) {
            nbd.listen(adopt_listener(loop, std::move(socket.fd)));
        } else {
            server.listen(loop, std::move(socket));
        }
    }

    coordinator.keep_host(
        "local", [&loop, path = config.hostd_socket] { return connect_hostd(loop, path); });
    const auto expiry = spawn(loop, "session expiry", sessions.expire_forever());
    const auto watch = spawn(loop, "loop watch", server::watch_loop(loop, metrics));
    const auto members = spawn(loop, "member watch", links.watch());
    const auto certificate = spawn(loop, "own certificate", note_certificate(coordinator));
    const auto clients = spawn(loop, "certificates of clients", admit_clients(coordinator));
    metrics.gauge("xapi_trace_spans_waiting", [tracing = coordinator.core().tracing] {
        return static_cast<double>(tracing->waiting());
    });
    metrics.gauge("xapi_trace_spans_lost", [tracing = coordinator.core().tracing] {
        return static_cast<double>(tracing->lost());
    });
    const auto traces = spawn(
        loop, "traces",
        transfer::export_traces(coordinator.core(), {dial, config.traces_directory}, metrics));
    end = [&] {
        if (!stopping) stopping = spawn(loop, "stop", stop(server, nbd, links, coordinator, loop));
    };
    loop.on_terminate([&end] { end(); });
    log::info("xapi_started", {{"role", "coordinator"}, {"store", config.store_path}});
    loop.run();
    log::info("xapi_stopped");
    return EXIT_SUCCESS;
}

}  // namespace basalt
