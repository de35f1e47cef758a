#pragma once
#include <memory>

#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::hv::xen {

/// The store's word that a domain has stopped or gone, whichever it was. Loop only.
class DomainWatch {
  public:
    /// Blocks for a moment. Throws INTERNAL_ERROR where there is no store.
    explicit DomainWatch(RealLoop& loop);
    ~DomainWatch();
    DomainWatch(const DomainWatch&) = delete;
    DomainWatch& operator=(const DomainWatch&) = delete;

    /// Returns when something has happened since the last call; at once for the first.
    Task<void> next();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace basalt::hv::xen
