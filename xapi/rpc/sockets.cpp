#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "base/log.hpp"
#include "xapi/rpc/server.hpp"

namespace basalt::server {

namespace {

constexpr int first_inherited_fd = 3;  // sd_listen_fds(3)
constexpr int backlog = 512;

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

long number_of(const char* text) {
    if (text == nullptr) return -1;
    long value = -1;
    const char* end = text + std::strlen(text);
    return std::from_chars(text, end, value).ptr == end ? value : -1;
}

std::vector<std::string> split_names(const char* text) {
    std::vector<std::string> names;
    std::string_view rest = text == nullptr ? "" : text;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(':'), rest.size());
        names.emplace_back(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return names;
}

}  // namespace

std::optional<Scheme> parse_scheme(std::string_view name) {
    if (name == "http") return Scheme::http;
    if (name == "https") return Scheme::https;
    if (name == "unix") return Scheme::unix_socket;
    if (name == "nbd") return Scheme::nbd;
    return std::nullopt;
}

std::vector<ListeningSocket> inherited_sockets() {
    std::vector<ListeningSocket> sockets;
    const long pid = number_of(std::getenv("LISTEN_PID"));
    const long count = number_of(std::getenv("LISTEN_FDS"));
    const std::vector<std::string> names = split_names(std::getenv("LISTEN_FDNAMES"));
    ::unsetenv("LISTEN_PID");
    ::unsetenv("LISTEN_FDS");
    ::unsetenv("LISTEN_FDNAMES");
    if (count <= 0 || (pid > 0 && pid != ::getpid())) return sockets;
    for (int i = 0; i < static_cast<int>(count); ++i) {
        UniqueFd fd(first_inherited_fd + i);
        ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
        const std::string name =
            static_cast<std::size_t>(i) < names.size() ? names[static_cast<std::size_t>(i)] : "";
        if (const auto scheme = parse_scheme(name)) {
            sockets.push_back({*scheme, std::move(fd)});
        } else {
            log::warn("inherited_socket_unknown", {{"name", name}, {"fd", fd.get()}});
        }
    }
    return sockets;
}

UniqueFd listen_tcp(const std::string& address, std::uint16_t port) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    const bool is_v4 = inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) != 1) {
        errno = EINVAL;
        throw_errno(address);
    }
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    UniqueFd fd(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw_errno("socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr* where =
        is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
    if (::bind(fd.get(), where, is_v4 ? sizeof v4 : sizeof v6) != 0)
        throw_errno(address + " port " + std::to_string(port));
    if (::listen(fd.get(), backlog) != 0) throw_errno("listen");
    return fd;
}

std::uint16_t port_of(const UniqueFd& socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        throw_errno("getsockname");
    return ntohs(address.ss_family == AF_INET
                     ? reinterpret_cast<const sockaddr_in&>(address).sin_port
                     : reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

}  // namespace basalt::server
