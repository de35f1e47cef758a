#include "xapi/rpc/tls.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

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
    Server server(loop, router, &context);
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
    Server server(loop, router, &context);
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

TEST(Tls, a_broken_file_changes_nothing) {
    const PemFile file;
    EXPECT_THROW(TlsContext{file.pem}, std::runtime_error);
    ensure_certificate(file.pem, {"h", {}, {}});
    TlsContext context(file.pem);
    const std::string before = context.fingerprint_sha256();
    write_private_file(file.pem, "no pem");
    EXPECT_THROW(context.reload(), std::runtime_error);
    EXPECT_EQ(context.fingerprint_sha256(), before);
}

}  // namespace
}  // namespace basalt::server
