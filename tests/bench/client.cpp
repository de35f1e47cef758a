#include "tests/bench/client.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace basalt::bench {

namespace {

constexpr std::size_t read_size = std::size_t{256} * 1024;

UniqueFd connect_socket(const Target& target) {
    const bool local = target.transport == Transport::unix_socket;
    UniqueFd fd(::socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un path{};
    path.sun_family = AF_UNIX;
    target.path.copy(path.sun_path, sizeof path.sun_path - 1);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(target.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int result =
        local ? ::connect(fd.get(), reinterpret_cast<sockaddr*>(&path), sizeof path)
              : ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    if (result != 0) throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
    const int on = 1;
    if (!local) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

struct SessionFree {
    void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};

/// What the thread's next connection may go on with.
std::unique_ptr<SSL_SESSION, SessionFree>& kept_session() {
    thread_local std::unique_ptr<SSL_SESSION, SessionFree> session;
    return session;
}

SSL_CTX* client_context() {
    static SSL_CTX* const context = [] {
        SSL_CTX* const made = SSL_CTX_new(TLS_client_method());
        // Of its own a connection is a whole handshake: what is resumed costs the server less.
        SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(made, [](SSL* /*ssl*/, SSL_SESSION* session) {
            kept_session().reset(session);
            return 1;
        });
        return made;
    }();
    return context;
}

std::string xml_text(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '<') {
            out += "&lt;";
        } else if (c == '&') {
            out += "&amp;";
        } else {
            out += c;
        }
    }
    return out;
}

std::string xml_value(const Json& value) {
    if (value.is_string()) return "<value>" + xml_text(value.get<std::string>()) + "</value>";
    if (value.is_array()) {
        std::string out = "<value><array><data>";
        for (const Json& item : value)
            out += xml_value(item);
        return out + "</data></array></value>";
    }
    if (value.is_number()) return "<value><double>" + value.dump() + "</double></value>";
    throw std::logic_error("not written in XML: " + value.dump());
}

std::string post(const std::string& path, const std::string& body) {
    return "POST " + path +
           " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

std::string_view name_of(Transport transport) {
    switch (transport) {
        case Transport::unix_socket:
            return "unix";
        case Transport::tcp:
            return "tcp";
        case Transport::tls:
            return "tls";
    }
    return "";
}

std::string request_text(Protocol protocol, const std::string& method,
                         const std::vector<Json>& params) {
    if (protocol == Protocol::json)
        return post(
            "/jsonrpc",
            Json{{"jsonrpc", "2.0"}, {"id", 1}, {"method", method}, {"params", params}}.dump());
    std::string body =
        "<?xml version='1.0'?><methodCall><methodName>" + method + "</methodName><params>";
    for (const Json& param : params)
        body += "<param>" + xml_value(param) + "</param>";
    return post("/", body + "</params></methodCall>");
}

std::string echo_request(std::size_t answer_bytes) {
    // As long as a usual call.
    return post("/" + std::to_string(answer_bytes), std::string(180, 'x'));
}

bool AnswerReader::take(std::string_view bytes) {
    if (!in_body_) {
        head_ += bytes;
        const std::size_t end = head_.find("\r\n\r\n");
        if (end == std::string::npos) return false;
        read_head();
        bytes.remove_prefix(bytes.size() - (head_.size() - end - 4));
        in_body_ = true;
        have_ = 0;
        body_.clear();
        // A failure says so at its beginning, in both protocols.
        const std::string_view start = bytes.substr(0, 256);
        if (start.find("\"error\":{") != std::string_view::npos ||
            start.find("Failure") != std::string_view::npos)
            throw std::runtime_error(std::string(bytes));
    }
    have_ += bytes.size();
    if (keep_) body_ += bytes;
    if (have_ < length_) return false;
    in_body_ = false;
    head_.clear();
    return true;
}

void AnswerReader::read_head() {
    if (!head_.starts_with("HTTP/1.1 200")) throw std::runtime_error(head_);
    constexpr std::string_view name = "content-length: ";
    const std::size_t at = head_.find(name);
    if (at == std::string::npos) throw std::runtime_error(head_);
    std::from_chars(head_.data() + at + name.size(), head_.data() + head_.size(), length_);
}

Connection::Connection(const Target& target) : fd_(connect_socket(target)) {
    if (target.transport != Transport::tls) return;
    ssl_.reset(SSL_new(client_context()));
    SSL_set_fd(ssl_.get(), fd_.get());
    if (target.resume && kept_session()) SSL_set_session(ssl_.get(), kept_session().get());
    if (SSL_connect(ssl_.get()) != 1) throw std::runtime_error("no TLS handshake");
}

void Connection::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent =
            ssl_ ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                 : ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) throw std::runtime_error("the server hung up");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

std::size_t Connection::receive(char* buffer, std::size_t size) {
    const ssize_t got = ssl_ ? SSL_read(ssl_.get(), buffer, static_cast<int>(size))
                             : ::recv(fd_.get(), buffer, size, 0);
    if (got > 0) return static_cast<std::size_t>(got);
    const bool nothing_yet =
        ssl_ ? SSL_get_error(ssl_.get(), static_cast<int>(got)) == SSL_ERROR_WANT_READ
             : got < 0 && errno == EAGAIN;
    if (!nothing_yet) throw std::runtime_error("the server hung up");
    return 0;
}

void Connection::never_block() {
    ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
}

std::size_t Client::post(const std::string& request) {
    connection_.send(request);
    std::vector<char> buffer(read_size);
    while (!reader_.take({buffer.data(), connection_.receive(buffer.data(), buffer.size())})) {
    }
    return reader_.body_bytes();
}

Json Client::call_bare(const std::string& method, const std::vector<Json>& params) {
    reader_.keep(true);
    post(request_text(Protocol::json, method, params));
    reader_.keep(false);
    return Json::parse(reader_.body()).at("result");
}

std::string Client::login() {
    session_ =
        call_bare("session.login_with_password", {"root", "", "1.0", "bench"}).get<std::string>();
    return session_;
}

std::string Client::get(const std::string& path) {
    reader_.keep(true);
    post("GET " + path + "?session_id=" + session_ + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    reader_.keep(false);
    return reader_.body();
}

Json Client::call(const std::string& method, std::vector<Json> params) {
    params.insert(params.begin(), session_);
    return call_bare(method, params);
}

}  // namespace basalt::bench
