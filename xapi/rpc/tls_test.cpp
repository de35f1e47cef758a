#include "xapi/rpc/tls.hpp"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <filesystem>

#include "base/durable_file.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::server {
namespace {

struct PemFile {
    PemFile() : path(std::filesystem::temp_directory_path() / ("rpc_" + std::to_string(getpid()))) {
        std::filesystem::create_directories(path);
        pem = path / "server.pem";
    }

    ~PemFile() { std::filesystem::remove_all(path); }

    std::filesystem::path path;
    std::string pem;
};

Task<void> reflect(Exchange& exchange) {
    std::string body = co_await exchange.body();
    co_await exchange.respond(ok_response(exchange.request(), "text/plain", std::move(body)));
}

Task<void> tls_ask(Loop& loop, std::unique_ptr<Stream> raw, std::string request, std::string& out) {
    std::unique_ptr<Stream> tls = co_await tls_connect_unverified(loop, std::move(raw));
    co_await testing::exchange_bytes(std::move(tls), std::move(request), out);
}

TEST(Tls, carries_http_both_ways_and_certificate_can_be_replaced) {
    const PemFile file;
    const CertificateNames names{"host.example", {}, {"192.0.2.1", "2001:db8::1"}};
    EXPECT_TRUE(ensure_certificate(file.pem, names));
    EXPECT_FALSE(ensure_certificate(file.pem, names));
    TlsContext context(file.pem);
    const std::string first = context.fingerprint_sha256();
    EXPECT_EQ(first.size(), 95U);

    SimLoop loop(3);
    Router router;
    router.add("POST", "/", reflect);
    Limits limits;
    Server server(loop, router, &context, limits);
    const std::string big(250'000, 'z');
    const std::string request =
        "POST / HTTP/1.1\r\nContent-Length: 250000\r\nConnection: close\r\n\r\n" + big;
    for (int round = 0; round < 2; ++round) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::https, {});
        std::string out;
        spawn(loop, "client", tls_ask(loop, std::move(near), request, out));
        loop.run_for(1min);
        EXPECT_TRUE(out.ends_with("\r\n\r\n" + big)) << out.substr(0, 300);
        std::filesystem::remove(file.pem);
        ensure_certificate(file.pem, names);
        context.reload();
        EXPECT_NE(context.fingerprint_sha256(), first);
    }
    EXPECT_EQ(server.counts().handshakes_failed, 0U);
}

TEST(Tls, what_is_no_tls_is_cut_and_silence_times_out) {
    const PemFile file;
    ensure_certificate(file.pem, {"h", {}, {}});
    TlsContext context(file.pem);
    SimLoop loop(4);
    Router router;
    Limits limits;
    Server server(loop, router, &context, limits);
    auto [near, far] = memory_streams(loop);
    server.serve(std::move(far), Scheme::https, {});
    std::string out;
    spawn(loop, "client", testing::exchange_bytes(std::move(near), "GET / HTTP/1.1\r\n\r\n", out));
    auto [quiet, other] = memory_streams(loop);
    server.serve(std::move(other), Scheme::https, {});
    loop.run_for(1min);
    EXPECT_EQ(server.counts().handshakes_failed, 2U);
    EXPECT_EQ(server.counts().connections, 0U);
}

TEST(Tls, half_open_handshakes_are_bounded_and_cost_others_nothing) {
    const PemFile file;
    ensure_certificate(file.pem, {"h", {}, {}});
    TlsContext context(file.pem);
    SimLoop loop(5);
    Router router;
    router.add("POST", "/", reflect);
    Limits limits;
    Server server(loop, router, &context, limits);
    std::vector<std::unique_ptr<Stream>> held;
    for (int i = 0; i < 140; ++i) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::https, {.address = "192.0.2.1"});
        held.push_back(std::move(near));
    }
    loop.run_for(100ms);
    EXPECT_EQ(limits.times_exceeded(Limit::handshakes_of_peer), 12U);
    auto [near, far] = memory_streams(loop);
    server.serve(std::move(far), Scheme::https, {.address = "192.0.2.2"});
    std::string out;
    spawn(loop, "client",
          tls_ask(loop, std::move(near),
                  "POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", out));
    loop.run_for(1s);
    EXPECT_TRUE(out.ends_with("\r\n\r\nhi")) << out;
    loop.run_for(15s);
    EXPECT_EQ(limits.times_exceeded(Limit::handshake_time), 128U);
    EXPECT_EQ(server.counts().connections, 0U);
}

TEST(Tls, too_many_handshakes_a_second_wait) {
    const PemFile file;
    ensure_certificate(file.pem, {"h", {}, {}});
    TlsContext context(file.pem);
    SimLoop loop(6);
    Router router;
    router.add("POST", "/", reflect);
    Limits limits;
    limits.set(Limit::handshake_rate_of_peer, 4);
    Server server(loop, router, &context, limits);
    std::array<std::string, 12> out;
    for (std::string& answer : out) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::https, {.address = "192.0.2.1"});
        spawn(
            loop, "client",
            tls_ask(loop, std::move(near),
                    "POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", answer));
    }
    const auto answered = [&] {
        return std::ranges::count_if(out, [](const auto& text) { return text.ends_with("hi"); });
    };
    loop.run_for(900ms);
    EXPECT_GE(answered(), 4);
    EXPECT_LE(answered(), 8);
    loop.run_for(5s);
    EXPECT_EQ(answered(), 12) << "they wait, they are not refused";
    EXPECT_EQ(limits.times_exceeded(Limit::handshake_rate_of_peer), 8U);
}

TEST(Tls, a_broken_file_changes_nothing) {
    const PemFile file;
    EXPECT_THROW(TlsContext{file.pem}, std::runtime_error);
    ensure_certificate(file.pem, {"h", {}, {}});
    TlsContext context(file.pem);
    const std::string before = context.fingerprint_sha256();
    write_durably(file.pem, "no pem");
    EXPECT_THROW(context.reload(), std::runtime_error);
    EXPECT_EQ(context.fingerprint_sha256(), before);
}

Task<void> pool_ask(Loop& loop, PoolConnector& connector, std::unique_ptr<Stream> raw,
                    std::string& out) {
    std::unique_ptr<Stream> tls = co_await connector.connect(loop, std::move(raw));
    co_await testing::exchange_bytes(std::move(tls),
                                     "GET /who HTTP/1.1\r\nConnection: close\r\n\r\n", out);
}

Task<void> tell_who(Exchange& exchange) {
    const Peer& peer = exchange.request().peer;
    std::string who = "<" + peer.pool_host + ">" + (peer.certified ? "+" : "");
    co_await exchange.respond(ok_response(exchange.request(), "text/plain", std::move(who)));
}

Task<void> certified_ask(Loop& loop, std::unique_ptr<Stream> raw, std::string pem_path,
                         std::string& out) {
    std::unique_ptr<Stream> tls =
        co_await tls_connect_unverified(loop, std::move(raw), {}, std::move(pem_path));
    co_await testing::exchange_bytes(std::move(tls),
                                     "GET /who HTTP/1.1\r\nConnection: close\r\n\r\n", out);
}

/// What `tell_who` tells a client with that key and certificate; empty when it was cut off.
std::string who_is(SimLoop& loop, Server& server, const std::string& pem_path) {
    auto [near, far] = memory_streams(loop);
    server.serve(std::move(far), Scheme::https, {});
    std::string out;
    spawn(loop, "client", certified_ask(loop, std::move(near), pem_path, out));
    loop.run_for(1min);
    const std::size_t body = out.find("\r\n\r\n");
    return body == std::string::npos ? std::string() : out.substr(body + 4);
}

/// A list of the certificate's maker on which that certificate is.
std::string revocation_of(const std::string& pem_path) {
    const std::string pem = testing::read_file(pem_path);
    BIO* const in = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    EVP_PKEY* const key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
    X509* const certificate = PEM_read_bio_X509(in, nullptr, nullptr, nullptr);
    X509_CRL* const list = X509_CRL_new();
    X509_CRL_set_version(list, 1);
    X509_CRL_set_issuer_name(list, X509_get_issuer_name(certificate));
    ASN1_TIME* const now = ASN1_TIME_set(nullptr, 1'800'000'000);
    X509_CRL_set1_lastUpdate(list, now);
    X509_REVOKED* const entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate));
    X509_REVOKED_set_revocationDate(entry, now);
    X509_CRL_add0_revoked(list, entry);
    X509_CRL_sort(list);
    X509_CRL_sign(list, key, EVP_sha256());
    BIO* const out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_CRL(out, list);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    std::string text(data, static_cast<std::size_t>(size));
    for (BIO* bio : {in, out})
        BIO_free_all(bio);
    ASN1_TIME_free(now);
    X509_CRL_free(list);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return text;
}

std::string certificate_in(const std::string& pem_path) {
    const std::string text = testing::read_file(pem_path);
    return text.substr(text.find("-----BEGIN CERTIFICATE"));
}

TEST(Tls, a_client_may_prove_that_it_needs_no_password) {
    const PemFile file;
    const std::string folder = file.path;
    ensure_certificate(file.pem, {"host.example", {}, {}});
    const std::string tool = folder + "/tool.pem";
    const std::string other = folder + "/other.pem";
    ensure_certificate(tool, {"tool.example", {}, {}});
    ensure_certificate(other, {"tool.example", {}, {}});
    TlsContext context(file.pem);
    SimLoop loop(8);
    Router router;
    router.add("GET", "/who", tell_who);
    Limits limits;
    Server server(loop, router, &context, limits);
    EXPECT_EQ(who_is(loop, server, tool), "<>") << "nobody has asked for it";

    ClientAuthority authority{
        .name = "tool.example", .certificates = {certificate_in(tool)}, .revocations = {}};
    context.admit_clients(authority);
    EXPECT_EQ(who_is(loop, server, tool), "<>+");
    EXPECT_EQ(who_is(loop, server, {}), "<>") << "who shows none is served as before";
    EXPECT_EQ(who_is(loop, server, other), "<>") << "the name alone is worth nothing";
    context.reload();
    EXPECT_EQ(who_is(loop, server, tool), "<>+");

    authority.name = "another.example";
    context.admit_clients(authority);
    EXPECT_EQ(who_is(loop, server, tool), "<>");
    authority.name = "tool.example";
    authority.revocations = {revocation_of(tool)};
    context.admit_clients(authority);
    EXPECT_EQ(who_is(loop, server, tool), "<>") << "it is on a list";
    authority.revocations = {revocation_of(other)};
    context.admit_clients(authority);
    EXPECT_EQ(who_is(loop, server, tool), "<>+");
    authority.certificates = {"no pem"};
    EXPECT_THROW(context.admit_clients(authority), std::runtime_error);
    EXPECT_EQ(who_is(loop, server, tool), "<>+") << "what cannot be changes nothing";
    context.admit_clients(std::nullopt);
    EXPECT_EQ(who_is(loop, server, tool), "<>");
}

TEST(Tls, hosts_of_a_pool_prove_who_they_are) {
    const PemFile file;
    const std::string folder = file.path;
    for (const char* name : {"server", "member", "stranger"})
        ensure_certificate(folder + "/" + name + ".pem", {.common_name = name});
    ensure_certificate(folder + "/clients.pem", {.common_name = "host.example"});
    write_durably(folder + "/all.pem",
                  certificate_in(folder + "/server.pem") + certificate_in(folder + "/member.pem"));
    TlsContext context(
        folder + "/clients.pem",
        PoolIdentity{.pem_path = folder + "/server.pem", .certificates_path = folder + "/all.pem"});
    SimLoop loop(5);
    Router router;
    router.add("GET", "/who", tell_who);
    Limits limits;
    Server server(loop, router, &context, limits);
    const auto ask = [&](const std::string& name) {
        PoolConnector connector({folder + "/" + name + ".pem", folder + "/all.pem"});
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::https, {});
        std::string out;
        spawn(loop, "member", pool_ask(loop, connector, std::move(near), out));
        loop.run_for(1min);
        return out;
    };
    EXPECT_TRUE(ask("member").ends_with("\r\n\r\n<member>"));
    EXPECT_EQ(ask("stranger"), "") << "its certificate is on nobody's list";

    // Other clients see the other certificate, prove nothing and are no host of the pool.
    auto [near, far] = memory_streams(loop);
    server.serve(std::move(far), Scheme::https, {});
    std::string out;
    spawn(loop, "client",
          tls_ask(loop, std::move(near), "GET /who HTTP/1.1\r\nConnection: close\r\n\r\n", out));
    loop.run_for(1min);
    EXPECT_TRUE(out.ends_with("\r\n\r\n<>")) << out;

    // A certificate that lets clients in makes none of them a host of the pool, whatever its name.
    context.admit_clients(ClientAuthority{.name = "member",
                                          .certificates = {certificate_in(folder + "/member.pem")},
                                          .revocations = {}});
    EXPECT_EQ(who_is(loop, server, folder + "/member.pem"), "<>+");
    EXPECT_TRUE(ask("member").ends_with("\r\n\r\n<member>"));

    // A server that is not of the pool is not believed either.
    TlsContext other(folder + "/clients.pem",
                     PoolIdentity{.pem_path = folder + "/stranger.pem",
                                  .certificates_path = folder + "/all.pem"});
    Server impostor(loop, router, &other, limits);
    PoolConnector connector({folder + "/member.pem", folder + "/all.pem"});
    auto [here, there] = memory_streams(loop);
    impostor.serve(std::move(there), Scheme::https, {});
    std::string nothing;
    const auto refused = spawn(loop, "member", pool_ask(loop, connector, std::move(here), nothing));
    loop.run_for(1min);
    EXPECT_TRUE(refused->failure());
    EXPECT_EQ(nothing, "");
}

}  // namespace
}  // namespace basalt::server
