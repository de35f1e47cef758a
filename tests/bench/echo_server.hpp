#pragma once
// The measure for all figures: an Asio server that reads a request, does nothing, and answers.
#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "tests/bench/daemons.hpp"

namespace basalt::bench {

class EchoServer {
  public:
    /// Serves in a process of its own, HTTPS with the key and certificate of `pem_path`. Before any
    /// thread is started.
    EchoServer(const std::string& unix_path, const std::string& pem_path);

    [[nodiscard]] std::uint16_t http_port() const { return http_port_; }

    [[nodiscard]] std::uint16_t https_port() const { return https_port_; }

    [[nodiscard]] pid_t pid() const { return process_.pid(); }

  private:
    std::uint16_t http_port_ = 0;
    std::uint16_t https_port_ = 0;
    Process process_;
};

}  // namespace basalt::bench
