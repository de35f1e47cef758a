#include "xapi/rpc/server.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "base/log.hpp"
#include "base/real_net.hpp"
#include "xapi/rpc/accept.hpp"

namespace basalt::server {

namespace {

constexpr Duration refusal_line_interval = 1s;

}  // namespace

Server::Server(Loop& loop, const Router& router, TlsContext* tls, Limits& limits,
               TrustedUids trusted)
    : loop_(loop), router_(router), limits_(limits), trusted_(std::move(trusted)), ended_(loop) {
    if (tls != nullptr) tls_ = std::make_unique<TlsAcceptor>(loop, *tls, limits_);
    limits_.use(Limit::connections, [this] { return connections_.size(); });
    limits_.use(Limit::connections_of_peer, [this] {
        std::size_t most = 0;
        for (const auto& [peer, open] : by_peer_)
            most = std::max(most, open);
        return most;
    });
}

Server::~Server() = default;

void Server::listen(std::unique_ptr<Listener> listener, Scheme scheme) {
    const std::shared_ptr<Listener> shared = std::move(listener);
    listeners_.push_back(shared);
    accepting_.push_back(spawn(loop_, "accept", accept_loop(shared, scheme)));
}

void Server::listen(RealLoop& loop, ListeningSocket socket) {
    listen(adopt_listener(loop, std::move(socket.fd)), socket.scheme);
}

Task<void> Server::accept_loop(std::shared_ptr<Listener> listener, Scheme scheme) {
    while (auto stream =
               co_await accept_next(loop_, *listener, [this] { return counts_.draining; })) {
        Peer peer = peer_of(*stream, scheme);
        serve(std::move(stream), scheme, std::move(peer));
    }
}

Peer Server::peer_of(const FdStream& stream, Scheme scheme) const {
    Peer peer;
    if (scheme == Scheme::unix_socket) {
        peer.unix_socket = true;
        peer.trusted = std::ranges::contains(trusted_, peer_uid(stream.fd()));
    } else {
        peer.address = peer_address(stream.fd());
    }
    return peer;
}

void Server::serve(std::unique_ptr<Stream> stream, Scheme scheme, Peer peer) {
    if (refused_ && refused_(scheme)) return stream->close();
    const auto known = by_peer_.find(peer.address);
    const std::size_t of_peer = known == by_peer_.end() ? 0 : known->second;
    const bool all_taken = connections_.size() >= limits_.max(Limit::connections);
    const bool own_taken = !peer.trusted && of_peer >= limits_.max(Limit::connections_of_peer);
    if (all_taken || own_taken) {
        ++counts_.refused;
        limits_.exceeded(all_taken ? Limit::connections : Limit::connections_of_peer);
        tell_refusal(peer.address, of_peer);
        stream->close();
        return;
    }
    ++counts_.accepted;
    ++by_peer_[peer.address];
    const std::uint64_t id = ++last_id_;
    // The entry first: on a simulated loop the coroutine may end before spawn returns.
    connections_[id] = nullptr;
    auto job = spawn(loop_, "connection", run(std::move(stream), scheme, std::move(peer), id));
    if (const auto at = connections_.find(id); at != connections_.end()) at->second = job;
}

Task<std::unique_ptr<Stream>> Server::start_tls(std::unique_ptr<Stream> stream, std::string peer) {
    if (!tls_) co_return nullptr;
    auto secure = co_await tls_->accept(std::move(stream), std::move(peer));
    if (!secure) ++counts_.handshakes_failed;
    co_return secure;
}

/// One line a second: who refuses ten thousand connections must not write ten thousand lines.
void Server::tell_refusal(const std::string& address, std::size_t of_peer) {
    if (loop_.now() < refusal_told_ + refusal_line_interval) return;
    refusal_told_ = loop_.now();
    log::warn("connection_refused", {{"peer", address},
                                     {"open", connections_.size()},
                                     {"of_peer", of_peer},
                                     {"refused", counts_.refused}});
}

Task<void> Server::run(std::unique_ptr<Stream> stream, Scheme scheme, Peer peer, std::uint64_t id) {
    struct Entry {
        Server& server;
        std::string address;
        std::uint64_t id;

        ~Entry() {
            const auto at = server.by_peer_.find(address);
            if (--at->second == 0) server.by_peer_.erase(at);
            server.connections_.erase(id);
            server.ended_.notify_all();
        }
    };

    const Entry entry{*this, peer.address, id};
    if (scheme == Scheme::https) {
        if (!tls_) co_return;
        TlsProof proof;
        stream = co_await tls_->accept(std::move(stream), peer.address, &proof);
        peer.pool_host = proof.pool_host;
        peer.certified = proof.client;
        if (!stream) {
            ++counts_.handshakes_failed;
            co_return;
        }
        peer.tls = true;
    }
    co_await serve_connection(loop_, std::move(stream), std::move(peer), router_, limits_, counts_);
}

Task<void> Server::stop(Duration grace) {
    counts_.draining = true;
    for (const auto& listener : listeners_)
        listener->close();
    for (const auto& job : accepting_)
        job->cancel();
    const Time deadline = loop_.now() + grace;
    while (counts_.busy > 0 && loop_.now() < deadline)
        co_await sleep_for(loop_, 10ms);
    std::vector<std::shared_ptr<Job>> left;
    for (const auto& [id, job] : connections_)
        if (job) left.push_back(job);
    for (const auto& job : left)
        job->cancel();
    for (const auto& job : left)
        co_await job->wait();
    for (const auto& job : accepting_)
        co_await job->wait();
}

void raise_descriptor_limit(const Limits& limits) {
    // Beside the connections: one more each for what they transfer, the store, the agents.
    const rlim_t wanted = 2 * limits.max(Limit::connections) + 256;
    rlimit now{};
    if (::getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur >= wanted) return;
    now.rlim_cur = std::min(wanted, now.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur < wanted)
        log::warn("few_descriptors", {{"limit", now.rlim_cur}, {"wanted", wanted}});
}

void add_server_metrics(Metrics& metrics, const Server& server) {
    const auto gauge = [&](const char* name, std::uint64_t HttpCounts::* figure) {
        metrics.gauge(name,
                      [&server, figure] { return static_cast<double>(server.counts().*figure); });
    };
    gauge("xapi_connections", &HttpCounts::connections);
    gauge("xapi_connections_accepted", &HttpCounts::accepted);
    gauge("xapi_connections_refused", &HttpCounts::refused);
    gauge("xapi_handshakes_failed", &HttpCounts::handshakes_failed);
    gauge("xapi_http_requests", &HttpCounts::requests);
    gauge("xapi_http_requests_busy", &HttpCounts::busy);
}

}  // namespace basalt::server
