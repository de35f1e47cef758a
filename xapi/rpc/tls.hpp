#pragma once
#include <map>
#include <memory>
#include <string>

#include "base/stream.hpp"
#include "base/wait.hpp"

namespace basalt::server {

/// The server's side of TLS: a certificate with its key, which can be replaced while running.
/// TLS 1.2 and 1.3, session tickets, ALPN http/1.1.
class TlsContext {
  public:
    /// Reads the PEM file (key and certificate chain). Blocks shortly. Throws std::runtime_error.
    explicit TlsContext(std::string pem_path);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    /// Reads the file again: connections made from now on use it, others go on. On failure nothing
    /// has changed. Blocks shortly. Throws std::runtime_error.
    void reload();

    /// Of the certificate now in use: upper-case hex of its SHA-256, bytes joined by colons.
    [[nodiscard]] std::string fingerprint_sha256() const;

    struct State;

    [[nodiscard]] std::shared_ptr<State> current() const { return state_; }

  private:
    std::string pem_path_;
    std::shared_ptr<State> state_;
};

struct TlsLimits {
    std::size_t handshakes_max = 64;           ///< under way at once
    std::size_t handshakes_max_per_peer = 16;  ///< of these, from one address
    std::size_t computing_max = 3;             ///< private-key operations on pool threads at once
    Duration handshake_time = 10s;
};

/// Makes TLS streams of accepted connections. Handshakes run off the loop, bounded. Loop only.
class TlsAcceptor {
  public:
    TlsAcceptor(Loop& loop, TlsContext& context, TlsLimits limits = {});

    /// Returns the stream once the handshake is done, or null: over a limit, too slow, or not TLS.
    /// Throws only cancellation.
    Task<std::unique_ptr<Stream>> accept(std::unique_ptr<Stream> raw, std::string peer_address);

  private:
    Task<void> handshake(Stream& raw, void* ssl);
    Task<int> compute(void* ssl);

    Loop& loop_;
    TlsContext& context_;
    TlsLimits limits_;
    std::size_t under_way_ = 0;
    std::map<std::string, std::size_t> by_peer_;
    std::size_t computing_ = 0;
    Signal computed_;
};

/// A client's side of TLS that accepts any certificate: for tests and for the pool's own peers,
/// which are checked by fingerprint. Throws std::runtime_error when the handshake fails.
Task<std::unique_ptr<Stream>> tls_connect_unverified(Loop& loop, std::unique_ptr<Stream> raw);

}  // namespace basalt::server
