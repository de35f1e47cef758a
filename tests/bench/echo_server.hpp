#pragma once
// The measure for all figures: an Asio server that reads a request, does nothing, and answers.
#include <atomic>
#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "tests/bench/daemons.hpp"

namespace basalt::bench {

class EchoServer {
  public:
    /// Of its loop, counted as xapi counts its own: what the machine makes of a server's turns.
    struct Turns {
        std::atomic<std::uint64_t> all = 0;
        std::atomic<std::uint64_t> over_1ms = 0;
    };

    /// Serves in a process of its own, HTTPS with the key and certificate of `pem_path`. Before any
    /// thread is started.
    EchoServer(const std::string& unix_path, const std::string& pem_path);

    [[nodiscard]] std::uint16_t http_port() const { return http_port_; }

    [[nodiscard]] std::uint16_t https_port() const { return https_port_; }

    [[nodiscard]] pid_t pid() const { return process_.pid(); }

    [[nodiscard]] const Turns& turns() const { return *turns_; }

  private:
    std::uint16_t http_port_ = 0;
    std::uint16_t https_port_ = 0;
    Turns* turns_;  // of memory that both processes see; it goes with them
    Process process_;
};

}  // namespace basalt::bench
