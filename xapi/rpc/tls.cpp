#include "xapi/rpc/tls.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/writes_now.hpp"
#include "xapi/rpc/client_check.hpp"
#include "xapi/rpc/deadline.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t raw_read_size = std::size_t{17} * 1024;   // one TLS record
constexpr std::size_t first_read_size = std::size_t{2} * 1024;  // an idle connection keeps little
constexpr std::size_t small_bytes = std::size_t{16} * 1024;
constexpr std::size_t turn_bytes = std::size_t{64} * 1024;  // encrypted in one turn of the loop

struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
};

using Ssl = std::unique_ptr<SSL, SslFree>;

[[noreturn]] void throw_ssl(const std::string& what) {
    std::array<char, 256> text{};
    ERR_error_string_n(ERR_get_error(), text.data(), text.size());
    ERR_clear_error();
    throw std::runtime_error(what + ": " + text.data());
}

/// An SSL object over two memory BIOs: it never touches a descriptor.
Ssl make_ssl(SSL_CTX* context) {
    Ssl ssl(SSL_new(context));
    if (!ssl) throw_ssl("SSL_new");
    BIO* const in = BIO_new(BIO_s_mem());
    BIO* const out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in, -1);
    BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(ssl.get(), in, out);
    return ssl;
}

std::string take_pending(SSL* ssl) {
    BIO* const out = SSL_get_wbio(ssl);
    std::string bytes(BIO_ctrl_pending(out), '\0');
    if (bytes.empty()) return bytes;
    const int count = BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
}

/// What reader, writer and closer of one connection share; outlives the Stream while it flushes.
struct Session {
    Session(Loop& loop, std::unique_ptr<Stream> stream, Ssl tls)
        : raw(std::move(stream)), ssl(std::move(tls)), flushed(loop) {}

    /// Sends what OpenSSL wants to send. One flush at a time; it takes along what others add.
    static Task<void> flush(std::shared_ptr<Session> self) {
        while (self->flushing)
            co_await self->flushed.wait();

        struct Turn {
            Session& session;

            explicit Turn(Session& s) : session(s) { session.flushing = true; }

            ~Turn() {
                session.flushing = false;
                session.flushed.notify_all();
            }
        };

        if (BIO_ctrl_pending(SSL_get_wbio(self->ssl.get())) == 0) co_return;
        const Turn turn(*self);
        for (;;) {
            const std::string bytes = take_pending(self->ssl.get());
            if (bytes.empty()) co_return;
            co_await self->raw->write(bytes);
        }
    }

    /// Sends at once what the kernel takes; whether that was all. Not while a flush is under way.
    bool flush_now() {
        if (raw_now == nullptr) return BIO_ctrl_pending(SSL_get_wbio(ssl.get())) == 0;
        char* data = nullptr;
        BIO* const out = SSL_get_wbio(ssl.get());
        const long size = BIO_get_mem_data(out, &data);
        if (size <= 0) return true;
        const std::string_view bytes(data, static_cast<std::size_t>(size));
        const std::size_t sent = raw_now->write_now(bytes);
        if (sent == bytes.size()) return BIO_reset(out) == 1;
        std::string gone(sent, '\0');
        BIO_read(out, gone.data(), static_cast<int>(sent));
        return false;
    }

    std::unique_ptr<Stream> raw;
    WritesNow* raw_now = dynamic_cast<WritesNow*>(raw.get());  // null: it cannot
    Ssl ssl;
    Signal flushed;
    bool flushing = false;
    bool ended = false;
};

Task<void> flush_rest(std::shared_ptr<Session> session) {
    try {
        co_await Session::flush(session);
    } catch (const boost::system::system_error&) {
        // The next read or write tells whoever serves the connection.
    }
}

Task<void> say_goodbye(std::shared_ptr<Session> session) {
    try {
        co_await Session::flush(session);
    } catch (const boost::system::system_error&) {
        // The peer is gone already.
    }
    session->raw->shutdown_write();
}

/// Whether `ssl` took some of `bytes` to encrypt; how many. Throws when the connection is broken.
std::size_t encrypt(SSL* ssl, std::string_view bytes) {
    ERR_clear_error();
    std::size_t count = 0;
    if (SSL_write_ex(ssl, bytes.data(), bytes.size(), &count) != 1)
        throw boost::system::system_error(asio::error::broken_pipe);
    return count;
}

class TlsStream final : public Stream, public WritesNow {
  public:
    TlsStream(Loop& loop, std::shared_ptr<Session> session)
        : loop_(loop), session_(std::move(session)) {}

    ~TlsStream() override { TlsStream::close(); }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        const auto session = session_;
        std::vector<char> raw(first_read_size);
        for (;;) {
            ERR_clear_error();
            std::size_t count = 0;
            const int result =
                SSL_read_ex(session->ssl.get(), buffer.data(), buffer.size(), &count);
            if (BIO_ctrl_pending(SSL_get_wbio(session->ssl.get())) > 0 && !session->flushing)
                co_await Session::flush(session);
            if (result == 1) co_return count;
            const int error = SSL_get_error(session->ssl.get(), result);
            if (error == SSL_ERROR_ZERO_RETURN) co_return 0;
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
                throw boost::system::system_error(asio::error::connection_reset);
            const std::size_t got = co_await session->raw->read_some(raw);
            if (got == 0) co_return 0;  // an end without goodbye is an end
            BIO_write(SSL_get_rbio(session->ssl.get()), raw.data(), static_cast<int>(got));
            if (got == raw.size()) raw.resize(raw_read_size);
        }
    }

    /// Small answers, all or nothing. What the kernel does not take of one goes out by itself.
    std::size_t write_now(std::string_view bytes) override {
        if (session_->ended || session_->flushing || bytes.empty() || bytes.size() > small_bytes)
            return 0;
        const std::size_t count = encrypt(session_->ssl.get(), bytes);
        if (!session_->flush_now()) spawn(loop_, "tls flush", flush_rest(session_));
        return count;
    }

    Task<void> write(std::string_view bytes) override {
        const auto session = session_;
        while (!bytes.empty()) {
            if (session->ended) throw boost::system::system_error(asio::error::broken_pipe);
            bytes.remove_prefix(encrypt(session->ssl.get(), bytes.substr(0, turn_bytes)));
            if (session->flushing || !session->flush_now()) co_await Session::flush(session);
        }
    }

    void shutdown_write() override {
        if (std::exchange(session_->ended, true)) return;
        SSL_shutdown(session_->ssl.get());
        spawn(loop_, "tls goodbye", say_goodbye(session_));
    }

    void close() override {
        session_->ended = true;
        session_->raw->close();
    }

  private:
    Loop& loop_;
    std::shared_ptr<Session> session_;
};

int choose_protocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned offered_size, void* /*unused*/) {
    static constexpr std::array<unsigned char, 9> ours = {8,   'h', 't', 't', 'p',
                                                          '/', '1', '.', '1'};
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_size, ours.data(), ours.size(), offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

struct TlsContext::State {
    explicit State(SSL_CTX* made) : context(made) {}

    State(const State&) = delete;
    State& operator=(const State&) = delete;

    ~State() {
        SSL_CTX_free(context);
        SSL_CTX_free(pool);
    }

    SSL_CTX* context;
    SSL_CTX* pool = nullptr;  // for clients that ask for the pool's name
    std::unique_ptr<const ClientCheck> clients;
};

namespace {

constexpr const char* pool_name = "pool";  // the server name by which its hosts call each other

void use_key(SSL_CTX* context, const std::string& pem_path) {
    if (SSL_CTX_use_certificate_chain_file(context, pem_path.c_str()) != 1) throw_ssl(pem_path);
    if (SSL_CTX_use_PrivateKey_file(context, pem_path.c_str(), SSL_FILETYPE_PEM) != 1)
        throw_ssl(pem_path);
    if (SSL_CTX_check_private_key(context) != 1) throw_ssl(pem_path);
}

constexpr int prove_yourself = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

void use_pool_identity(SSL_CTX* context, const PoolIdentity& identity) {
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);  // both ends are ours
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // A ticket would let in a host whose certificate has been taken off the list meanwhile.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    use_key(context, identity.pem_path);
    if (SSL_CTX_load_verify_locations(context, identity.certificates_path.c_str(), nullptr) != 1)
        throw_ssl(identity.certificates_path);
    SSL_CTX_set_verify(context, prove_yourself, nullptr);
}

int choose_identity(SSL* ssl, int* /*alert*/, void* pool) {
    const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == nullptr || std::string_view(name) != pool_name) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, static_cast<SSL_CTX*>(pool));
    SSL_set_verify(ssl, prove_yourself, nullptr);
    SSL_set_num_tickets(ssl, 0);
    return SSL_TLSEXT_ERR_OK;
}

/// The common name of the certificate with which the peer proved to be of the pool. Who did not
/// ask for the pool's identity has proved nothing of the kind, whatever certificate it showed.
std::string proved_name(SSL* ssl, const SSL_CTX* pool) {
    if (pool == nullptr || SSL_get_SSL_CTX(ssl) != pool) return {};
    if ((SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) == 0) return {};
    if (SSL_get_verify_result(ssl) != X509_V_OK) return {};
    X509* const certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == nullptr) return {};
    std::array<char, 65> text{};
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                               text.data(), static_cast<int>(text.size()));
    return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

std::shared_ptr<TlsContext::State> load(const std::string& pem_path,
                                        const std::optional<PoolIdentity>& pool,
                                        const std::optional<ClientAuthority>& clients) {
    SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
    if (context == nullptr) throw_ssl("SSL_CTX_new");
    auto state = std::make_shared<TlsContext::State>(context);
    if (pool) {
        state->pool = SSL_CTX_new(TLS_server_method());
        if (state->pool == nullptr) throw_ssl("SSL_CTX_new");
        use_pool_identity(state->pool, *pool);
        SSL_CTX_set_tlsext_servername_callback(context, choose_identity);
        SSL_CTX_set_tlsext_servername_arg(context, state->pool);
    }
    // Each ticket costs as much as a tenth of a handshake, and one lets a client come back.
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(
        context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // RSA key exchange and CBC are left out: every client known to us speaks the rest.
    SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
    static constexpr std::string_view session_name = "basalt";
    SSL_CTX_set_session_id_context(context,
                                   reinterpret_cast<const unsigned char*>(session_name.data()),
                                   static_cast<unsigned>(session_name.size()));
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
    use_key(context, pem_path);
    if (clients) {
        state->clients = std::make_unique<const ClientCheck>(*clients);
        state->clients->ask_in(context);
    }
    return state;
}

}  // namespace

TlsContext::TlsContext(std::string pem_path, std::optional<PoolIdentity> pool)
    : pem_path_(std::move(pem_path)),
      pool_(std::move(pool)),
      state_(load(pem_path_, pool_, clients_)) {}

TlsContext::~TlsContext() = default;

void TlsContext::reload() {
    state_ = load(pem_path_, pool_, clients_);
}

void TlsContext::admit_clients(std::optional<ClientAuthority> authority) {
    state_ = load(pem_path_, pool_, authority);
    clients_ = std::move(authority);
}

std::string TlsContext::fingerprint_sha256() const {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    X509_digest(SSL_CTX_get0_certificate(state_->context), EVP_sha256(), digest.data(), &size);
    static constexpr std::string_view hex = "0123456789ABCDEF";
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
        if (i > 0) text += ':';
        text += hex[digest[i] >> 4];
        text += hex[digest[i] & 15];
    }
    return text;
}

TlsAcceptor::TlsAcceptor(Loop& loop, TlsContext& context, Limits& limits)
    : loop_(loop),
      context_(context),
      limits_(limits),
      computing_(loop, limits.max(Limit::handshakes_computing), 1) {
    limits_.use(Limit::handshakes, [this] { return under_way_; });
    limits_.use(Limit::handshakes_computing, [this] { return computing_.in_use(); });
}

Task<std::unique_ptr<Stream>> TlsAcceptor::accept(std::unique_ptr<Stream> raw,
                                                  std::string peer_address, TlsProof* proof) {
    const auto known = by_peer_.find(peer_address);
    const std::size_t of_peer = known == by_peer_.end() ? 0 : known->second;
    const bool all_taken = under_way_ >= limits_.max(Limit::handshakes);
    if (all_taken || of_peer >= limits_.max(Limit::handshakes_of_peer)) {
        limits_.exceeded(all_taken ? Limit::handshakes : Limit::handshakes_of_peer);
        co_return nullptr;
    }

    struct Place {
        TlsAcceptor& acceptor;
        std::string peer;

        ~Place() {
            --acceptor.under_way_;
            const auto at = acceptor.by_peer_.find(peer);
            if (--at->second == 0) acceptor.by_peer_.erase(at);
        }
    };

    ++under_way_;
    ++by_peer_[peer_address];
    const Place place{*this, peer_address};
    const std::shared_ptr<TlsContext::State> context = context_.current();
    Ssl ssl = make_ssl(context->context);
    SSL_set_accept_state(ssl.get());
    try {
        Deadline deadline(loop_, *raw, limits_);
        deadline.set(Limit::handshake_time);
        co_await handshake(*raw, ssl.get(), std::move(peer_address));
    } catch (const std::runtime_error&) {  // system_error is one, too
        raw->close();
        co_return nullptr;
    }
    if (proof != nullptr) {
        proof->pool_host = proved_name(ssl.get(), context->pool);
        const bool shown = proof->pool_host.empty() && SSL_get0_peer_certificate(ssl.get());
        if (shown && context->clients)
            proof->client = co_await blocking(
                loop_, [state = context, ssl = ssl.get()] { return state->clients->admits(ssl); });
    }
    co_return std::make_unique<TlsStream>(
        loop_, std::make_shared<Session>(loop_, std::move(raw), std::move(ssl)));
}

namespace {

/// One turn's outcome: whether the handshake is done. Throws when it failed.
bool handshake_done(SSL* ssl, int result) {
    if (result == 1) return true;
    const int error = SSL_get_error(ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
    throw_ssl("handshake");
}

Task<void> feed(Stream& raw, SSL* ssl) {
    std::array<char, raw_read_size> buffer;
    const std::size_t count = co_await raw.read_some(buffer);
    if (count == 0) throw std::runtime_error("handshake: the peer went away");
    BIO_write(SSL_get_rbio(ssl), buffer.data(), static_cast<int>(count));
}

}  // namespace

Task<void> TlsAcceptor::handshake(Stream& raw, void* opaque, std::string peer) {
    SSL* const ssl = static_cast<SSL*>(opaque);
    bool first = true;
    for (;;) {
        co_await feed(raw, ssl);
        // The first bytes of a client cost a private-key operation.
        if (std::exchange(first, false))
            if (const Duration wait = wait_of(peer); wait > Duration::zero()) {
                limits_.exceeded(Limit::handshake_rate_of_peer);
                co_await sleep_for(loop_, wait);
            }
        const int result = co_await compute(ssl, peer);
        // Alerts go out even when the handshake failed.
        const std::string bytes = take_pending(ssl);
        if (!bytes.empty()) co_await raw.write(bytes);
        if (result < 0) throw std::runtime_error("handshake failed");
        if (result > 0) co_return;
    }
}

/// How long the peer's next handshake has to wait.
Duration TlsAcceptor::wait_of(const std::string& peer) {
    const Time now = loop_.now();
    // Whoever has been quiet for a second is as good as unknown.
    std::erase_if(rates_, [&](auto& entry) { return entry.second.full(now); });
    const auto rate = static_cast<double>(limits_.max(Limit::handshake_rate_of_peer));
    return rates_.try_emplace(peer, rate, rate, now).first->second.take(now);
}

/// A turn of the handshake on a pool thread: 1 done, 0 wants more, -1 failed. Nobody else touches
/// this SSL object meanwhile.
Task<int> TlsAcceptor::compute(void* opaque, std::string peer) {
    SSL* const ssl = static_cast<SSL*>(opaque);
    const core::FairGate::Place place = co_await computing_.enter({std::move(peer), {}});
    co_return co_await blocking(loop_, [ssl] {
        ERR_clear_error();
        try {
            return handshake_done(ssl, SSL_do_handshake(ssl)) ? 1 : 0;
        } catch (const std::runtime_error&) {
            return -1;
        }
    });
}

namespace {

Task<std::unique_ptr<Stream>> connect_with(Loop& loop, std::unique_ptr<Stream> raw, Ssl ssl) {
    SSL_set_connect_state(ssl.get());
    for (;;) {
        ERR_clear_error();
        bool done = false;
        std::exception_ptr failure;
        try {
            done = handshake_done(ssl.get(), SSL_do_handshake(ssl.get()));
        } catch (const std::runtime_error&) {
            failure = std::current_exception();
        }
        // Also when it failed: the alert tells the other side why.
        const std::string bytes = take_pending(ssl.get());
        if (!bytes.empty()) co_await raw->write(bytes);
        if (failure) std::rethrow_exception(failure);
        if (done) break;
        co_await feed(*raw, ssl.get());
    }
    co_return std::make_unique<TlsStream>(
        loop, std::make_shared<Session>(loop, std::move(raw), std::move(ssl)));
}

}  // namespace

PoolConnector::PoolConnector(const PoolIdentity& identity) {
    SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
    if (context == nullptr) throw_ssl("SSL_CTX_new");
    state_ = std::make_shared<TlsContext::State>(context);
    use_pool_identity(context, identity);
}

PoolConnector::~PoolConnector() = default;

Task<std::unique_ptr<Stream>> PoolConnector::connect(Loop& loop, std::unique_ptr<Stream> raw) {
    Ssl ssl = make_ssl(state_->context);
    SSL_set_tlsext_host_name(ssl.get(), pool_name);
    co_return co_await connect_with(loop, std::move(raw), std::move(ssl));
}

Task<std::unique_ptr<Stream>> tls_connect_unverified(Loop& loop, std::unique_ptr<Stream> raw,
                                                     std::string name, std::string pem_path) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
    if (!context) throw_ssl("SSL_CTX_new");
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!pem_path.empty()) use_key(context.get(), pem_path);
    Ssl ssl = make_ssl(context.get());
    if (!name.empty()) SSL_set_tlsext_host_name(ssl.get(), name.c_str());
    co_return co_await connect_with(loop, std::move(raw), std::move(ssl));
}

}  // namespace basalt::server
