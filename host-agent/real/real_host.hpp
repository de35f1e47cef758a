#pragma once
#include <memory>

#include "base/real_loop.hpp"
#include "host-agent/rpc/server.hpp"
#include "host-agent/services/config.hpp"

namespace basalt::agent {

/// hostd over the backends of a machine: named once, at the top of real_host.cpp.
class RealHost {
  public:
    /// Opens the local store. Throws std::system_error, ApiError, or std::invalid_argument for a
    /// backend that this program lacks.
    RealHost(RealLoop& loop, const Config& config);
    ~RealHost();

    /// Returns when it may take requests. What it throws is fatal: try again in a new process.
    Task<void> start();
    /// Guests live on.
    Task<void> stop();
    [[nodiscard]] Server& server();
    /// For tests: called around each step of each plan.
    void set_probe(Runner::Probe probe);

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace basalt::agent
