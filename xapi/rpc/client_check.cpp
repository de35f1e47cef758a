#include "xapi/rpc/client_check.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <new>
#include <stdexcept>

namespace basalt::server {

namespace {

/// All objects of a kind in a PEM text; at least one.
template <class Owner, class Read>
void read_pem(const std::string& pem, Read read, const char* what, std::vector<Owner>& out) {
    const std::unique_ptr<BIO, Freed<BIO_free_all>> bio(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    const std::size_t before = out.size();
    while (auto* object = read(bio.get(), nullptr, nullptr, nullptr))
        out.emplace_back(object);
    if (out.size() == before) throw std::runtime_error(std::string("it is not ") + what);
    ERR_clear_error();  // the end of the text
}

}  // namespace

ClientCheck::ClientCheck(const ClientAuthority& authority)
    : name_(authority.name), store_(X509_STORE_new()) {
    if (!store_) throw std::bad_alloc();
    for (const std::string& pem : authority.certificates)
        read_pem(pem, PEM_read_bio_X509, "a trusted certificate", signers_);
    for (const std::string& pem : authority.revocations)
        read_pem(pem, PEM_read_bio_X509_CRL, "a revocation list", lists_);
    for (const Certificate& signer : signers_)
        if (X509_STORE_add_cert(store_.get(), signer.get()) != 1)
            throw std::runtime_error("a certificate cannot be trusted");
    // A certificate is trusted because an administrator said so, signed by itself or not.
    X509_STORE_set_flags(store_.get(), X509_V_FLAG_PARTIAL_CHAIN);
}

void ClientCheck::ask_in(SSL_CTX* context) const {
    for (const Certificate& signer : signers_)
        SSL_CTX_add_client_CA(context, signer.get());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    // Every handshake goes on; what its certificate is good for is looked at when it is over.
    SSL_CTX_set_cert_verify_callback(
        context, [](X509_STORE_CTX* /*unused*/, void* /*unused*/) { return 1; }, nullptr);
    // A ticket has no chain, and would outlive a change of whom we trust.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
}

bool ClientCheck::is_revoked(const X509* certificate) const {
    return std::ranges::any_of(lists_, [&](const RevocationList& list) {
        if (X509_NAME_cmp(X509_CRL_get_issuer(list.get()), X509_get_issuer_name(certificate)) != 0)
            return false;
        X509_REVOKED* entry = nullptr;
        return X509_CRL_get0_by_serial(list.get(), &entry, X509_get0_serialNumber(certificate)) > 0;
    });
}

bool ClientCheck::admits(SSL* ssl) const {
    X509* const own = SSL_get0_peer_certificate(ssl);
    if (own == nullptr || X509_check_host(own, name_.data(), name_.size(), 0, nullptr) != 1)
        return false;
    const std::unique_ptr<X509_STORE_CTX, Freed<X509_STORE_CTX_free>> check(X509_STORE_CTX_new());
    if (!check ||
        X509_STORE_CTX_init(check.get(), store_.get(), own, SSL_get_peer_cert_chain(ssl)) != 1)
        return false;
    X509_STORE_CTX_set_default(check.get(), "ssl_client");
    const bool trusted = X509_verify_cert(check.get()) == 1;
    ERR_clear_error();
    if (!trusted) return false;
    const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(check.get());
    for (int i = 0; i < sk_X509_num(chain); ++i)
        if (is_revoked(sk_X509_value(chain, i))) return false;
    return true;
}

}  // namespace basalt::server
