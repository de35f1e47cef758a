#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/stream.hpp"
#include "base/wait.hpp"
#include "xapi/core/fairness.hpp"
#include "xapi/core/limits.hpp"

namespace basalt::server {

/// How the hosts of a pool know each other: each has a key of its own and the certificates of all.
struct PoolIdentity {
    std::string pem_path;           ///< key and certificate; the common name is the host's uuid
    std::string certificates_path;  ///< of all hosts of the pool
};

/// Which clients need no password: those that prove to have a certificate of this name, signed by
/// one of these. Others are served as before.
struct ClientAuthority {
    std::string name;  ///< a host name in the certificate or, when it has none, its common name
    std::vector<std::string> certificates;  ///< PEM texts of those who sign
    std::vector<std::string> revocations;   ///< PEM texts of lists; who is on one is not let in
};

/// What a client's certificate has proved.
struct TlsProof {
    std::string pool_host;  ///< uuid of the host of our pool that it is, or empty
    bool client = false;    ///< it is one whom the ClientAuthority lets in
};

/// The server's side of TLS: a certificate with its key, which can be replaced while running.
/// TLS 1.2 and 1.3, session tickets, ALPN http/1.1. A client that asks for the name "pool" gets the
/// pool's identity instead and must prove that it is a host of the pool.
class TlsContext {
  public:
    /// Reads the PEM files (key and certificate chain). Blocks shortly. Throws std::runtime_error.
    explicit TlsContext(std::string pem_path, std::optional<PoolIdentity> pool = {});
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    /// Reads the file again: connections made from now on use it, others go on. On failure nothing
    /// has changed. Blocks shortly. Throws std::runtime_error.
    void reload();

    /// Connections made from now on are judged by it; nothing: no client's certificate counts.
    /// On failure nothing has changed. Blocks shortly. Throws std::runtime_error.
    void admit_clients(std::optional<ClientAuthority> authority);

    /// Of the certificate now in use: upper-case hex of its SHA-256, bytes joined by colons.
    [[nodiscard]] std::string fingerprint_sha256() const;

    struct State;

    [[nodiscard]] std::shared_ptr<State> current() const { return state_; }

  private:
    std::string pem_path_;
    std::optional<PoolIdentity> pool_;
    std::optional<ClientAuthority> clients_;
    std::shared_ptr<State> state_;
};

/// A host's way to another host of its pool: both prove who they are. Loop only.
class PoolConnector {
  public:
    /// Reads the PEM files. Blocks shortly. Throws std::runtime_error.
    explicit PoolConnector(const PoolIdentity& identity);
    ~PoolConnector();
    PoolConnector(const PoolConnector&) = delete;
    PoolConnector& operator=(const PoolConnector&) = delete;

    /// Throws std::runtime_error when the other side is no host of the pool, or knows us not.
    Task<std::unique_ptr<Stream>> connect(Loop& loop, std::unique_ptr<Stream> raw);

  private:
    std::shared_ptr<TlsContext::State> state_;
};

/// Makes TLS streams of accepted connections. Private-key operations run off the loop, a few at
/// once; addresses take turns, and one that asks for too many a second waits. Loop only.
class TlsAcceptor {
  public:
    TlsAcceptor(Loop& loop, TlsContext& context, Limits& limits);

    /// Returns the stream once the handshake is done, or null: over a limit, too slow, or not TLS.
    /// `proof` gets what the client has proved. Throws only cancellation.
    Task<std::unique_ptr<Stream>> accept(std::unique_ptr<Stream> raw, std::string peer_address,
                                         TlsProof* proof = nullptr);

  private:
    Task<void> handshake(Stream& raw, void* ssl, std::string peer);
    Task<int> compute(void* ssl, std::string peer);
    Duration wait_of(const std::string& peer);

    Loop& loop_;
    TlsContext& context_;
    Limits& limits_;
    std::size_t under_way_ = 0;
    std::map<std::string, std::size_t> by_peer_;
    std::map<std::string, core::RateLimit> rates_;
    core::FairGate computing_;
};

/// A client's side of TLS that accepts any certificate: for tests and for the pool's own peers,
/// which are checked by fingerprint. `name` is what the server is told it is asked for, `pem_path`
/// names the client's own key and certificate. Throws std::runtime_error when the handshake fails.
Task<std::unique_ptr<Stream>> tls_connect_unverified(Loop& loop, std::unique_ptr<Stream> raw,
                                                     std::string name = {},
                                                     std::string pem_path = {});

}  // namespace basalt::server
