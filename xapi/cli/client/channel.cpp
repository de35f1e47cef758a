#include "xapi/cli/client/channel.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/fd.hpp"

namespace basalt::cli::client {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

class SocketChannel : public Channel {
  public:
    explicit SocketChannel(UniqueFd fd) : fd_(std::move(fd)) {}

    std::size_t read(std::span<char> buffer) override {
        for (;;) {
            const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
            if (count >= 0) return static_cast<std::size_t>(count);
            if (errno == ECONNRESET) return 0;
            if (errno != EINTR) fail("Lost the connection to the server");
        }
    }

    void write(std::string_view bytes) override {
        while (!bytes.empty()) {
            const ssize_t count = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count >= 0)
                bytes.remove_prefix(static_cast<std::size_t>(count));
            else if (errno != EINTR)
                fail("Lost the connection to the server");
        }
    }

    void end_writing() override { ::shutdown(fd_.get(), SHUT_WR); }

    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    UniqueFd fd_;
};

/// Any certificate will do: hosts make their own.
class TlsChannel : public Channel {
  public:
    TlsChannel(UniqueFd fd, const std::string& host) : fd_(std::move(fd)) {
        context_.reset(SSL_CTX_new(TLS_client_method()));
        SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
        SSL_CTX_set_options(context_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
        ssl_.reset(SSL_new(context_.get()));
        SSL_set_mode(ssl_.get(), SSL_MODE_AUTO_RETRY);
        SSL_set_fd(ssl_.get(), fd_.get());
        SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
        if (SSL_connect(ssl_.get()) != 1) fail_tls("The server does not speak TLS");
    }

    std::size_t read(std::span<char> buffer) override {
        const int count = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
        if (count > 0) return static_cast<std::size_t>(count);
        const int why = SSL_get_error(ssl_.get(), count);
        if (why == SSL_ERROR_ZERO_RETURN || why == SSL_ERROR_SYSCALL) return 0;
        fail_tls("Lost the connection to the server");
    }

    void write(std::string_view bytes) override {
        while (!bytes.empty()) {
            const auto piece = bytes.substr(0, std::size_t{1} << 20U);
            const int count = SSL_write(ssl_.get(), piece.data(), static_cast<int>(piece.size()));
            if (count <= 0) fail_tls("Lost the connection to the server");
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
    }

    void end_writing() override { SSL_shutdown(ssl_.get()); }

    [[nodiscard]] int fd() const override { return fd_.get(); }

    [[nodiscard]] bool buffered() const override { return SSL_pending(ssl_.get()) > 0; }

  private:
    [[noreturn]] static void fail_tls(const std::string& what) {
        const unsigned long code = ERR_get_error();
        const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
        throw std::runtime_error(what + (reason == nullptr ? "" : std::string(": ") + reason));
    }

    struct Free {
        void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };

    UniqueFd fd_;
    std::unique_ptr<SSL_CTX, Free> context_;
    std::unique_ptr<SSL, Free> ssl_;
};

UniqueFd connect_unix_path(const std::string& path) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (path.size() >= sizeof(address.sun_path)) throw std::runtime_error(path + ": too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) fail("socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
        fail("Cannot connect to " + path);
    return fd;
}

UniqueFd connect_host(const std::string& host, const std::string& port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int rc = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); rc != 0)
        throw std::runtime_error("Cannot find the server " + host + ": " + gai_strerror(rc));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
        UniqueFd fd(::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, 0));
        if (!fd || ::connect(fd.get(), each->ai_addr, each->ai_addrlen) != 0) continue;
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return fd;
    }
    fail("Cannot connect to " + host + " port " + port);
}

}  // namespace

std::optional<std::string> Channel::read_exactly(std::size_t count) {
    std::string out(count, '\0');
    std::size_t done = 0;
    while (done < count) {
        const std::size_t more = read(std::span(out).subspan(done));
        if (more == 0 && done == 0) return std::nullopt;
        if (more == 0) throw std::runtime_error("The server ended the connection");
        done += more;
    }
    return out;
}

std::unique_ptr<Channel> open_channel(const Address& address) {
    if (!address.unix_path.empty())
        return std::make_unique<SocketChannel>(connect_unix_path(address.unix_path));
    UniqueFd fd = connect_host(address.host, address.port);
    if (!address.tls) return std::make_unique<SocketChannel>(std::move(fd));
    return std::make_unique<TlsChannel>(std::move(fd), address.host);
}

}  // namespace basalt::cli::client
