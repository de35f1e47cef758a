#pragma once
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// What happens by itself as time passes: SSH that was switched on for a while is switched off, and
/// certificates that end soon are told of.
class Upkeep {
  public:
    explicit Upkeep(core::Core& core) : core_(core) {}

    /// Runs until cancelled.
    Task<void> run_forever();
    /// Switches SSH off where its time is over. A host that is away is tried again.
    Task<void> end_ssh();
    /// Messages of certificates that end within thirty days, a message a certificate.
    void tell_certificates();

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
