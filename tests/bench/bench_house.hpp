#pragma once
// A coordinator full of VMs behind a TLS socket of the loopback, on a thread of its own, and
// clients of it on others.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "base/async.hpp"
#include "base/real_loop.hpp"
#include "base/stream.hpp"

namespace basalt::bench {

/// How long turns of the server's loop were.
struct Turns {
    std::atomic<std::uint64_t> all = 0;
    std::atomic<std::uint64_t> over_1ms = 0;   ///< of work, not of waiting for a processor
    std::atomic<std::int64_t> longest_us = 0;  ///< of work

    void forget();
};

class House {
  public:
    /// Makes `vms` VMs, each with a disk, a NIC and what belongs to them, and serves.
    explicit House(int vms);
    ~House();
    House(const House&) = delete;
    House& operator=(const House&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// References of two sessions, and of one of the VMs.
    [[nodiscard]] const std::string& session(int which) const { return sessions_[which]; }

    [[nodiscard]] const std::string& vm() const { return vm_; }

    [[nodiscard]] Turns& turns() { return turns_; }

  private:
    void serve(int vms);

    std::filesystem::path folder_;
    std::string sessions_[2];
    std::string vm_;
    Turns turns_;
    std::atomic<std::uint16_t> port_ = 0;
    std::function<void()> stop_;
    std::thread thread_;
};

/// One TLS connection to a House. Loop only.
class Client {
  public:
    Client(RealLoop& loop, std::uint16_t port) : loop_(loop), port_(port) {}

    Task<void> connect();
    /// Posts a JSON-RPC body and reads the answer to its end. Returns the answer's bytes; throws
    /// when it is no 200.
    Task<std::size_t> ask(std::string body);

  private:
    RealLoop& loop_;
    std::uint16_t port_;
    std::unique_ptr<Stream> stream_;
    std::string ahead_;
};

/// {"method":..,"params":[..]} with string parameters, or with one raw JSON text.
std::string request(std::string_view method, const std::vector<std::string>& params);

}  // namespace basalt::bench
