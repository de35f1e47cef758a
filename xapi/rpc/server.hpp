#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/wait.hpp"
#include "xapi/rpc/connection.hpp"
#include "xapi/rpc/metrics.hpp"
#include "xapi/rpc/tls.hpp"

namespace basalt {
class RealLoop;
}

namespace basalt::server {

enum class Scheme { http, https, unix_socket, nbd };

/// "http", "https", "unix" or "nbd"; the names under which listening sockets are handed over.
[[nodiscard]] std::optional<Scheme> parse_scheme(std::string_view name);

struct ListeningSocket {
    Scheme scheme = Scheme::http;
    UniqueFd fd;
};

/// The sockets that the service manager opened for this process (LISTEN_FDS, LISTEN_FDNAMES), once:
/// the variables are removed. A name that is none of ours is closed with a warning.
[[nodiscard]] std::vector<ListeningSocket> inherited_sockets();
/// A listening TCP socket; `address` is numeric, v4 or v6, `port` 0 takes a free one.
/// Throws std::system_error.
[[nodiscard]] UniqueFd listen_tcp(const std::string& address, std::uint16_t port);
[[nodiscard]] std::uint16_t port_of(const UniqueFd& socket);

/// Users whose unix connections are trusted as the host's root is.
using TrustedUids = std::vector<std::int64_t>;

/// All listening sockets of a daemon and their connections. Loop only.
class Server {
  public:
    /// `tls` may be null when no https socket is given. All outlive the server.
    Server(Loop& loop, const Router& router, TlsContext* tls, Limits& limits,
           TrustedUids trusted = {0});
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Accepts from it until `stop`.
    void listen(std::unique_ptr<Listener> listener, Scheme scheme);
    /// The same for a socket of the real loop.
    void listen(RealLoop& loop, ListeningSocket socket);
    /// Serves one connection that came from elsewhere (a relay, a test).
    void serve(std::unique_ptr<Stream> stream, Scheme scheme, Peer peer);

    /// TLS on a connection that began in the clear, under the limits of all others; null when that
    /// failed, or when there is no certificate.
    Task<std::unique_ptr<Stream>> start_tls(std::unique_ptr<Stream> stream, std::string peer);

    /// Connections of that kind are closed at once for as long as `refused` says so.
    void refuse(std::function<bool(Scheme)> refused) { refused_ = std::move(refused); }

    /// Accepts no more, lets answers under way end for at most `grace`, then cuts what is left.
    Task<void> stop(Duration grace);

    [[nodiscard]] const HttpCounts& counts() const { return counts_; }

  private:
    Task<void> accept_loop(std::shared_ptr<Listener> listener, Scheme scheme);
    Task<void> run(std::unique_ptr<Stream> stream, Scheme scheme, Peer peer, std::uint64_t id);
    void tell_refusal(const std::string& address, std::size_t of_peer);
    [[nodiscard]] Peer peer_of(const FdStream& stream, Scheme scheme) const;

    Loop& loop_;
    const Router& router_;
    Limits& limits_;
    TrustedUids trusted_;
    std::function<bool(Scheme)> refused_;
    std::unique_ptr<TlsAcceptor> tls_;
    HttpCounts counts_;
    std::vector<std::shared_ptr<Listener>> listeners_;
    std::vector<std::shared_ptr<Job>> accepting_;
    std::map<std::uint64_t, std::shared_ptr<Job>> connections_;
    std::map<std::string, std::size_t> by_peer_;
    std::uint64_t last_id_ = 0;
    Time refusal_told_{};
    Signal ended_;
};

/// Raises the soft limit of open descriptors as far as `connections` and what else is open need;
/// warns when the hard limit is lower. Start-up only.
void raise_descriptor_limit(const Limits& limits);
/// Gauges of the server's counts.
void add_server_metrics(Metrics& metrics, const Server& server);

}  // namespace basalt::server
