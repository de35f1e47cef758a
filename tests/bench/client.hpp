#pragma once
// A client's side of one connection, blocking: as little code as possible between the kernel and
// the clock.
#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace basalt::bench {

using Json = nlohmann::json;

enum class Transport { unix_socket, tcp, tls };

std::string_view name_of(Transport transport);

struct Target {
    Transport transport = Transport::unix_socket;
    std::string path;        ///< of the unix socket
    std::uint16_t port = 0;  ///< of 127.0.0.1
    bool resume = false;     ///< TLS: goes on with the session of the thread's last connection
};

enum class Protocol { json, xml };

/// The whole HTTP request of a call; `params` are strings, or raw JSON (arrays, objects, numbers)
/// for JSON only.
std::string request_text(Protocol protocol, const std::string& method,
                         const std::vector<Json>& params);
/// POST of nothing to the echo server that asks for so many bytes.
std::string echo_request(std::size_t answer_bytes);

/// Takes the bytes of answers one after the other and keeps only how many there were, and whether
/// they tell of a success.
class AnswerReader {
  public:
    /// Takes what was read; true when an answer is complete. Throws when it is no success.
    bool take(std::string_view bytes);

    [[nodiscard]] std::size_t body_bytes() const { return length_; }

    /// The last answer's body, when `keep` was set before.
    [[nodiscard]] const std::string& body() const { return body_; }

    void keep(bool on) { keep_ = on; }

  private:
    void read_head();

    std::string head_;
    std::string body_;
    std::size_t length_ = 0;
    std::size_t have_ = 0;
    bool in_body_ = false;
    bool keep_ = false;
};

/// Loses its connection when it goes. Not for several threads.
class Connection {
  public:
    /// Connects, and for TLS shakes hands. Throws std::runtime_error.
    explicit Connection(const Target& target);

    void send(std::string_view bytes);
    /// Blocks, unless `never_block` was called: 0 then, when there is nothing yet.
    std::size_t receive(char* buffer, std::size_t size);
    void never_block();

    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Bytes that were decrypted already: `receive` will not block.
    [[nodiscard]] bool pending() const { return ssl_ && SSL_pending(ssl_.get()) > 0; }

  private:
    struct Free {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };

    UniqueFd fd_;
    std::unique_ptr<SSL, Free> ssl_;
};

/// Calls, one after the other, in JSON-RPC.
class Client {
  public:
    explicit Client(const Target& target) : connection_(target) {}

    /// As root of the host's own socket. Keeps the session.
    std::string login();

    void use_session(std::string session) { session_ = std::move(session); }

    /// With the session before `params`. Throws std::runtime_error with the error's text.
    Json call(const std::string& method, std::vector<Json> params = {});
    /// GET with the session. Returns the body.
    std::string get(const std::string& path);
    /// Sends a request as it is, returns the answer's bytes.
    std::size_t post(const std::string& request);

  private:
    Json call_bare(const std::string& method, const std::vector<Json>& params);

    Connection connection_;
    AnswerReader reader_;
    std::string session_;
};

}  // namespace basalt::bench
