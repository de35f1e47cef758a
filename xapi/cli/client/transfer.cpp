#include "xapi/cli/client/transfer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "base/fd.hpp"

namespace basalt::cli::client {

namespace {

constexpr int alive_every_ms = 300'000;
constexpr char leave_key = 0x1d;
constexpr int redirects_max = 5;

std::string normal(const std::string& path) {
    return std::filesystem::absolute(path).lexically_normal().string();
}

void complain(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());  // the user's terminal is this program's log
}

bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(fd, bytes.data(), bytes.size());
        if (count < 0 && errno != EINTR) return false;
        if (count > 0) bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
}

struct Target {
    Address address;
    std::string path;
};

/// `https://host[:port]/path`, or a path on the server in use.
Target target_of(const std::string& url, const Address& server) {
    constexpr std::string_view scheme = "https://";
    if (!url.starts_with(scheme)) return {server, url};
    const auto slash = url.find('/', scheme.size());
    const std::string place = url.substr(scheme.size(), slash - scheme.size());
    const std::string path = slash == std::string::npos ? "/" : url.substr(slash);
    Address address{.host = place, .port = "443", .tls = true};
    const auto bracket = place.rfind(']');
    const auto colon = place.rfind(':');
    if (colon != std::string::npos && (bracket == std::string::npos || bracket < colon)) {
        address.host = place.substr(0, colon);
        address.port = place.substr(colon + 1);
    }
    if (address.host.starts_with('[') && address.host.ends_with(']'))
        address.host = address.host.substr(1, address.host.size() - 2);
    return {address, path};
}

/// Up to and with the empty line, a byte at a time: what follows belongs to someone else.
std::string read_head(Channel& channel) {
    std::string head;
    while (!head.ends_with("\r\n\r\n") && !head.ends_with("\n\n")) {
        char byte = 0;
        if (channel.read({&byte, 1}) == 0 || head.size() > 65536) break;
        head += byte;
    }
    return head;
}

int status_of(const std::string& head) {
    const auto space = head.find(' ');
    int status = 0;
    if (head.starts_with("HTTP/") && space != std::string::npos)
        std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
    return status;
}

std::string header_of(const std::string& head, std::string_view name) {
    std::size_t at = head.find('\n');
    while (at != std::string::npos && at + 1 < head.size()) {
        const auto end = head.find('\n', at + 1);
        const std::string_view line = std::string_view(head).substr(at + 1, end - at - 1);
        if (line.size() > name.size() && line[name.size()] == ':' &&
            ::strncasecmp(line.data(), name.data(), name.size()) == 0) {
            std::string_view value = line.substr(name.size() + 1);
            while (value.starts_with(' '))
                value.remove_prefix(1);
            while (value.ends_with('\r') || value.ends_with(' '))
                value.remove_suffix(1);
            return std::string(value);
        }
        at = end;
    }
    return {};
}

/// Keys go to the other side as they are typed, while this lives.
class RawTerminal {
  public:
    RawTerminal() : present_(::tcgetattr(STDIN_FILENO, &before_) == 0) {
        if (!present_) return;
        termios raw = before_;
        ::cfmakeraw(&raw);
        ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }

    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

    ~RawTerminal() {
        if (present_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }

    [[nodiscard]] bool present() const { return present_; }

  private:
    termios before_{};
    bool present_;
};

}  // namespace

struct Transfers::Reply {
    std::unique_ptr<Channel> channel;
    int status = 0;
    std::string head;
};

AllowedFiles::AllowedFiles(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        const auto equals = word.find('=');
        if (equals != std::string::npos && equals + 1 < word.size())
            paths_.insert(normal(word.substr(equals + 1)));
    }
}

bool AllowedFiles::may_read(const std::string& path) const {
    return paths_.contains(normal(path));
}

bool AllowedFiles::may_write(const std::string& path) const {
    const std::filesystem::path whole = normal(path);
    return paths_.contains(whole.string()) ||
           whole.parent_path() == std::filesystem::current_path();
}

Transfers::Reply Transfers::request(const std::string& method, std::string url,
                                    const std::string& headers) {
    for (int left = redirects_max; left > 0; --left) {
        const Target target = target_of(url, server_);
        Reply reply{.channel = open_channel(target.address)};
        reply.channel->write(method + " " + target.path +
                             " HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\n" + headers + "\r\n");
        reply.head = read_head(*reply.channel);
        reply.status = status_of(reply.head);
        if (reply.status != 302) return reply;
        url = header_of(reply.head, "location");
    }
    complain("The server redirects without end");
    return {};
}

bool Transfers::get(const std::string& file, const std::string& url) {
    if (!file.empty() && !files_.may_write(file)) {
        complain("The server wants to write " + file + ", which was not named: refused");
        return false;
    }
    UniqueFd out;
    if (!file.empty()) {
        out = UniqueFd(::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
        if (!out) {
            complain("Cannot create " + file + ": " + std::strerror(errno));
            return false;
        }
    }
    const Reply reply = request("GET", url, "");
    if (reply.status != 200) {
        complain("The server answered " + reply.head.substr(0, reply.head.find('\r')));
        return false;
    }
    std::array<char, 65536> buffer;
    const int fd = file.empty() ? STDOUT_FILENO : out.get();
    for (;;) {
        pollfd waiting{.fd = reply.channel->fd(), .events = POLLIN, .revents = 0};
        if (!reply.channel->buffered() && ::poll(&waiting, 1, alive_every_ms) == 0) alive_();
        const std::size_t count = reply.channel->read(buffer);
        if (count == 0) return true;
        if (!write_all(fd, {buffer.data(), count})) {
            complain("Cannot write: " + std::string(std::strerror(errno)));
            return false;
        }
    }
}

bool Transfers::put(const std::string& file, const std::string& url) {
    if (!files_.may_read(file)) {
        complain("The server wants to read " + file + ", which was not named: refused");
        return false;
    }
    const UniqueFd in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat facts{};
    if (!in || ::fstat(in.get(), &facts) != 0) {
        complain("Cannot open " + file + ": " + std::strerror(errno));
        return false;
    }
    std::string headers;
    if (S_ISREG(facts.st_mode))
        headers = "Content-length: " + std::to_string(facts.st_size) + "\r\n";
    const Reply reply = request("PUT", url, headers);
    if (reply.status != 200) {
        complain("The server answered " + reply.head.substr(0, reply.head.find('\r')));
        return false;
    }
    std::array<char, 65536> buffer;
    for (;;) {
        const ssize_t count = ::read(in.get(), buffer.data(), buffer.size());
        if (count < 0) {
            complain("Cannot read " + file + ": " + std::strerror(errno));
            return false;
        }
        if (count == 0) break;
        reply.channel->write({buffer.data(), static_cast<std::size_t>(count)});
    }
    reply.channel->end_writing();
    // The server reads to the end before it closes: only then is the transfer over.
    for (;;) {
        pollfd waiting{.fd = reply.channel->fd(), .events = POLLIN, .revents = 0};
        if (!reply.channel->buffered() && ::poll(&waiting, 1, alive_every_ms) == 0) {
            alive_();
            continue;
        }
        if (reply.channel->read(buffer) == 0) return true;
    }
}

bool Transfers::connect(const std::string& url) {
    const Reply reply = request("CONNECT", url, "content-length: 0\r\n");
    if (reply.status != 200) {
        complain(reply.status == 404 ? "There is no such console"
                                     : "The server answered " + std::to_string(reply.status));
        return false;
    }
    const RawTerminal terminal;
    if (terminal.present()) complain("Connected; press ^] to leave\r");
    std::array<char, 4096> buffer;
    for (;;) {
        std::array<pollfd, 2> ends = {pollfd{STDIN_FILENO, POLLIN, 0},
                                      pollfd{reply.channel->fd(), POLLIN, 0}};
        const int ready = reply.channel->buffered() ? 1 : ::poll(ends.data(), 2, alive_every_ms);
        if (ready == 0) alive_();
        if (reply.channel->buffered() || (ends[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            const std::size_t count = reply.channel->read(buffer);
            if (count == 0 || !write_all(STDOUT_FILENO, {buffer.data(), count})) return true;
        }
        if ((ends[0].revents & (POLLIN | POLLHUP)) == 0) continue;
        const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (count <= 0) return true;
        const std::string_view typed(buffer.data(), static_cast<std::size_t>(count));
        const auto leave = typed.find(leave_key);
        reply.channel->write(typed.substr(0, leave));
        if (leave != std::string_view::npos) return true;
    }
}

}  // namespace basalt::cli::client
