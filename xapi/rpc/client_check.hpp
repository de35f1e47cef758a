#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "xapi/rpc/tls.hpp"

/// Certificates of clients. Internal to TLS: who includes this reads OpenSSL's headers.
namespace basalt::server {

template <auto Free>
struct Freed {
    void operator()(auto* object) const { Free(object); }
};

using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using RevocationList = std::unique_ptr<X509_CRL, Freed<X509_CRL_free>>;

/// Who of the clients needs no password. Immutable, so any thread may ask.
class ClientCheck {
  public:
    /// Throws std::runtime_error for a text that is no certificate or no list.
    explicit ClientCheck(const ClientAuthority& authority);

    /// Asks for a certificate without insisting on one.
    void ask_in(SSL_CTX* context) const;
    /// Whether the client's certificate lets it in. Computes for a tenth of a millisecond.
    [[nodiscard]] bool admits(SSL* ssl) const;

  private:
    [[nodiscard]] bool is_revoked(const X509* certificate) const;

    std::string name_;
    std::vector<Certificate> signers_;
    std::vector<RevocationList> lists_;
    std::unique_ptr<X509_STORE, Freed<X509_STORE_free>> store_;
};

}  // namespace basalt::server
