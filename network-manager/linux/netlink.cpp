#include "network-manager/linux/netlink.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace basalt::nm::netlink {

namespace {

constexpr std::size_t answer_bytes_max = std::size_t{256} * 1024;

[[noreturn]] void throw_errno(int code, const char* what) {
    throw std::system_error(code, std::system_category(), what);
}

}  // namespace

void Message::append(const void* bytes, std::size_t size) {
    const auto* from = static_cast<const char*>(bytes);
    bytes_.insert(bytes_.end(), from, from + size);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

Message& Message::put(std::uint16_t type, std::string_view bytes) {
    rtattr header{};
    header.rta_type = type;
    header.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(bytes.size()));
    append(&header, sizeof header);
    append(bytes.data(), bytes.size());
    return *this;
}

std::vector<char>& Message::finish(std::uint32_t sequence) {
    nlmsghdr header{};
    std::memcpy(&header, bytes_.data(), sizeof header);
    header.nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
    header.nlmsg_seq = sequence;
    std::memcpy(bytes_.data(), &header, sizeof header);
    return bytes_;
}

Attributes::Attributes(std::string_view bytes) {
    while (bytes.size() >= sizeof(rtattr)) {
        rtattr header{};
        std::memcpy(&header, bytes.data(), sizeof header);
        if (header.rta_len < sizeof header || header.rta_len > bytes.size()) return;
        found_.emplace_back(header.rta_type & NLA_TYPE_MASK,
                            bytes.substr(RTA_LENGTH(0), header.rta_len - RTA_LENGTH(0)));
        bytes.remove_prefix(std::min<std::size_t>(RTA_ALIGN(header.rta_len), bytes.size()));
    }
}

std::string_view Attributes::get(std::uint16_t type) const {
    for (const auto& [found, bytes] : found_)
        if (found == type) return bytes;
    return {};
}

std::string Attributes::text(std::uint16_t type) const {
    const std::string_view bytes = get(type);
    return std::string(bytes.substr(0, bytes.find('\0')));
}

Socket::Socket() : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
    if (!fd_) throw_errno(errno, "netlink socket");
}

int Socket::change(Message message) {
    int answer = 0;
    const std::vector<char>& bytes = message.finish(++sequence_);
    nlmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return errno;
    std::vector<char> buffer(answer_bytes_max);
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0) return errno;
    nlmsgerr failure{};
    if (static_cast<std::size_t>(got) >= sizeof header + sizeof failure.error) {
        std::memcpy(&header, buffer.data(), sizeof header);
        std::memcpy(&failure.error, buffer.data() + NLMSG_HDRLEN, sizeof failure.error);
        if (header.nlmsg_type == NLMSG_ERROR) answer = -failure.error;
    }
    return answer;
}

void Socket::dump(Message message,
                  const std::function<void(std::uint16_t, std::string_view)>& each) {
    const std::vector<char>& bytes = message.finish(++sequence_);
    if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) throw_errno(errno, "netlink send");
    std::vector<char> buffer(answer_bytes_max);
    for (;;) {
        const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0) throw_errno(errno, "netlink receive");
        std::string_view rest(buffer.data(), static_cast<std::size_t>(got));
        while (rest.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header{};
            std::memcpy(&header, rest.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) return;
            const std::string_view body =
                rest.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
            if (header.nlmsg_type == NLMSG_DONE) return;
            if (header.nlmsg_type == NLMSG_ERROR) {
                int code = 0;
                std::memcpy(&code, body.data(), sizeof code);
                throw_errno(-code, "netlink dump");
            }
            each(header.nlmsg_type, body);
            rest.remove_prefix(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
        }
    }
}

}  // namespace basalt::nm::netlink
