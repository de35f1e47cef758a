#include "base/real_net.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>

#include "base/context.hpp"
#include "base/turn.hpp"
#include "base/writes_now.hpp"

namespace basalt {

namespace {

using Descriptor = asio::posix::stream_descriptor;
using Socket = asio::generic::stream_protocol::socket;
constexpr std::size_t fds_max = 16;

[[noreturn]] void throw_errno(const char* what) {
    throw boost::system::system_error(errno, boost::system::system_category(), what);
}

bool would_block() {
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

template <class Object>
Task<void> until(Object& object, typename Object::wait_type what) {
    const log::Suspension suspended;
    const turn::Kept same_job;
    co_await object.async_wait(what, asio::use_awaitable);
}

/// What an operation gave: a result below 0 is errno's.
bool must_wait(ssize_t result, const char* what) {
    if (result >= 0) return false;
    if (!would_block() && errno != EINTR) throw_errno(what);
    return true;
}

/// -1 for what is no socket.
int socket_option(int fd, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

void require_open(bool open) {
    if (!open) throw boost::system::system_error(asio::error::operation_aborted);
}

/// Pipes and terminals.
class DescriptorStream final : public FdStream {
  public:
    DescriptorStream(RealLoop& loop, UniqueFd fd) : descriptor_(loop.context(), fd.get()) {
        [[maybe_unused]] const int owned_by_descriptor = fd.release();
        descriptor_.native_non_blocking(true);
    }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        for (;;) {
            require_open(descriptor_.is_open());
            const ssize_t got = ::read(descriptor_.native_handle(), buffer.data(), buffer.size());
            if (got < 0 && errno == EIO) co_return 0;  // a pty whose other side closed
            if (!must_wait(got, "read")) co_return static_cast<std::size_t>(got);
            co_await until(descriptor_, Descriptor::wait_read);
        }
    }

    Task<void> write(std::string_view bytes) override {
        while (!bytes.empty()) {
            require_open(descriptor_.is_open());
            const ssize_t sent = ::write(descriptor_.native_handle(), bytes.data(), bytes.size());
            if (must_wait(sent, "write")) {
                co_await until(descriptor_, Descriptor::wait_write);
            } else {
                bytes.remove_prefix(static_cast<std::size_t>(sent));
            }
        }
    }

    Task<FdMessage> read_with_fds(std::span<char> buffer) override {
        const std::size_t got = co_await read_some(buffer);
        co_return FdMessage{got, {}};
    }

    Task<void> write_with_fds(std::string_view bytes, std::span<const UniqueFd> fds) override {
        if (!fds.empty()) throw boost::system::system_error(asio::error::operation_not_supported);
        return write(bytes);
    }

    void shutdown_write() override {}

    void close() override {
        boost::system::error_code ignored;
        // NOLINTNEXTLINE(bugprone-unused-return-value): closing twice is fine
        descriptor_.close(ignored);
    }

    [[nodiscard]] int fd() const override {
        return const_cast<Descriptor&>(descriptor_).native_handle();
    }

  private:
    Descriptor descriptor_;
};

/// Sockets. Asio's own reading and writing know whether the kernel has said that there is nothing
/// yet: less system calls than trying and waiting.
class SocketStream final : public FdStream, public WritesNow {
  public:
    SocketStream(RealLoop& loop, UniqueFd fd, int domain)
        : socket_(loop.context(), asio::generic::stream_protocol(domain, 0), fd.get()) {
        [[maybe_unused]] const int owned_by_socket = fd.release();
        socket_.native_non_blocking(true);
    }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        require_open(socket_.is_open());
        if (ended_) co_return 0;
        const log::Suspension suspended;
        const turn::Kept same_job;
        boost::system::error_code error;
        const std::size_t got =
            co_await socket_.async_read_some(asio::buffer(buffer.data(), buffer.size()),
                                             asio::redirect_error(asio::use_awaitable, error));
        // Asio waits for ever on who reads on after the end: the kernel tells of it once.
        ended_ = error == asio::error::eof;
        if (ended_) co_return 0;
        if (error) throw boost::system::system_error(error);
        co_return got;
    }

    Task<void> write(std::string_view bytes) override {
        bytes.remove_prefix(write_now(bytes));
        while (!bytes.empty()) {
            require_open(socket_.is_open());
            const log::Suspension suspended;
            const turn::Kept same_job;
            bytes.remove_prefix(co_await socket_.async_write_some(
                asio::buffer(bytes.data(), bytes.size()), asio::use_awaitable));
        }
    }

    std::size_t write_now(std::string_view bytes) override {
        if (!socket_.is_open()) return 0;
        const ssize_t sent =
            ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        return sent < 0 ? 0 : static_cast<std::size_t>(sent);
    }

    Task<FdMessage> read_with_fds(std::span<char> buffer) override {
        for (;;) {
            require_open(socket_.is_open());
            alignas(cmsghdr) std::array<char, CMSG_SPACE(fds_max * sizeof(int))> control{};
            iovec part{buffer.data(), buffer.size()};
            msghdr header{};
            header.msg_iov = &part;
            header.msg_iovlen = 1;
            header.msg_control = control.data();
            header.msg_controllen = control.size();
            const ssize_t got = recvmsg(socket_.native_handle(), &header, MSG_CMSG_CLOEXEC);
            if (!must_wait(got, "recvmsg"))
                co_return FdMessage{static_cast<std::size_t>(got), take_fds(header)};
            co_await until(socket_, Socket::wait_read);
        }
    }

    Task<void> write_with_fds(std::string_view bytes, std::span<const UniqueFd> fds) override {
        while (!fds.empty()) {
            require_open(socket_.is_open());
            const ssize_t sent = send_fds(bytes, fds);
            if (must_wait(sent, "sendmsg")) {
                co_await until(socket_, Socket::wait_write);
                continue;
            }
            bytes.remove_prefix(static_cast<std::size_t>(sent));
            break;
        }
        co_await write(bytes);
    }

    void shutdown_write() override {
        if (socket_.is_open()) ::shutdown(socket_.native_handle(), SHUT_WR);
    }

    void close() override {
        boost::system::error_code ignored;
        // NOLINTNEXTLINE(bugprone-unused-return-value): closing twice is fine
        socket_.close(ignored);
    }

    [[nodiscard]] int fd() const override { return const_cast<Socket&>(socket_).native_handle(); }

  private:
    static std::vector<UniqueFd> take_fds(msghdr& header) {
        std::vector<UniqueFd> fds;
        for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr;
             part = CMSG_NXTHDR(&header, part)) {
            if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
            const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t i = 0; i < count; ++i) {
                int fd = -1;
                std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
                fds.emplace_back(fd);
            }
        }
        return fds;
    }

    ssize_t send_fds(std::string_view bytes, std::span<const UniqueFd> fds) {
        if (fds.size() > fds_max) throw boost::system::system_error(asio::error::message_size);
        alignas(cmsghdr) std::array<char, CMSG_SPACE(fds_max * sizeof(int))> control{};
        iovec part{const_cast<char*>(bytes.data()), bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        for (std::size_t i = 0; i < fds.size(); ++i) {
            const int fd = fds[i].get();
            std::memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof fd);
        }
        return sendmsg(socket_.native_handle(), &header, MSG_NOSIGNAL);
    }

    Socket socket_;
    bool ended_ = false;
};

/// Without delay, and a peer that has vanished is noticed in two minutes even by who only waits
/// for it (long polls, consoles). All of it fails on unix sockets, which need none of it.
void set_tcp_options(int fd) {
    const auto set = [fd](int level, int name, int value) {
        setsockopt(fd, level, name, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
    set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

class RealListener final : public Listener {
  public:
    RealListener(RealLoop& loop, UniqueFd fd) : loop_(loop), descriptor_(loop.context(), fd.get()) {
        [[maybe_unused]] const int owned_by_descriptor = fd.release();
        descriptor_.native_non_blocking(true);
    }

    Task<std::unique_ptr<FdStream>> accept() override {
        for (;;) {
            if (!descriptor_.is_open())
                throw boost::system::system_error(asio::error::operation_aborted);
            UniqueFd fd(accept4(descriptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
            if (fd) {
                set_tcp_options(fd.get());
                co_return adopt_stream(loop_, std::move(fd));
            }
            if (errno == ECONNABORTED || errno == EINTR) continue;
            if (!would_block()) throw_errno("accept");
            co_await until(descriptor_, Descriptor::wait_read);
        }
    }

    void close() override {
        boost::system::error_code ignored;
        // NOLINTNEXTLINE(bugprone-unused-return-value): closing twice is fine
        descriptor_.close(ignored);
    }

  private:
    RealLoop& loop_;
    Descriptor descriptor_;
};

sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        throw boost::system::system_error(asio::error::name_too_long);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

Task<std::unique_ptr<FdStream>> connect_to(RealLoop& loop, UniqueFd fd, sockaddr_storage address,
                                           socklen_t size) {
    const int raw = fd.get();
    if (raw < 0) throw_errno("socket");
    auto stream = adopt_stream(loop, std::move(fd));
    if (::connect(raw, reinterpret_cast<const sockaddr*>(&address), size) == 0) co_return stream;
    if (errno != EINPROGRESS) throw_errno("connect");
    // A socket under connect becomes writable when it is decided; an own duplicate keeps this
    // simple.
    Descriptor waiter(loop.context(), fcntl(raw, F_DUPFD_CLOEXEC, 0));
    co_await until(waiter, Descriptor::wait_write);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(raw, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0)
        throw boost::system::system_error(error, boost::system::system_category(), "connect");
    co_return stream;
}

template <class Address>
sockaddr_storage as_storage(const Address& address) {
    sockaddr_storage storage{};
    std::memcpy(&storage, &address, sizeof address);
    return storage;
}

}  // namespace

std::unique_ptr<FdStream> adopt_stream(RealLoop& loop, UniqueFd fd) {
    const int domain = socket_option(fd.get(), SO_DOMAIN);
    if (domain >= 0 && socket_option(fd.get(), SO_TYPE) == SOCK_STREAM)
        return std::make_unique<SocketStream>(loop, std::move(fd), domain);
    return std::make_unique<DescriptorStream>(loop, std::move(fd));
}

std::unique_ptr<Listener> adopt_listener(RealLoop& loop, UniqueFd fd) {
    return std::make_unique<RealListener>(loop, std::move(fd));
}

Task<std::unique_ptr<FdStream>> connect_unix(RealLoop& loop, std::string path) {
    const sockaddr_un address = unix_address(path);
    co_return co_await connect_to(
        loop, UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
        as_storage(address), sizeof address);
}

Task<std::unique_ptr<FdStream>> connect_tcp(RealLoop& loop, std::string address,
                                            std::uint16_t port) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        co_return co_await connect_to(loop, UniqueFd(socket(AF_INET, flags, 0)), as_storage(v4),
                                      sizeof v4);
    }
    if (inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        co_return co_await connect_to(loop, UniqueFd(socket(AF_INET6, flags, 0)), as_storage(v6),
                                      sizeof v6);
    }
    throw boost::system::system_error(asio::error::invalid_argument);
}

std::unique_ptr<Listener> listen_unix(RealLoop& loop, const std::string& path, unsigned mode) {
    const sockaddr_un address = unix_address(path);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw_errno("socket");
    ::unlink(path.c_str());
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        throw_errno("bind");
    if (::chmod(path.c_str(), mode) != 0) throw_errno("chmod");
    if (::listen(fd.get(), 128) != 0) throw_errno("listen");
    return adopt_listener(loop, std::move(fd));
}

std::int64_t peer_uid(int fd) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return -1;
    return static_cast<std::int64_t>(credentials.uid);
}

std::string peer_address(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET)
        inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(address).sin_addr, text.data(),
                  text.size());
    if (address.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6&>(address).sin6_addr, text.data(),
                  text.size());
    return text.data();
}

std::pair<UniqueFd, UniqueFd> socket_pair() {
    std::array<int, 2> fds{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0)
        throw_errno("socketpair");
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace basalt
