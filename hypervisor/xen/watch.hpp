#pragma once
#include <memory>
#include <set>
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::hv::xen {

/// The store's path that changes when some domain has stopped or gone, whichever it was.
extern const char* const domain_ends;

/// The store's word that something has changed at or below some paths of it.
class StoreWatch {
  public:
    /// Blocks for a moment. Throws INTERNAL_ERROR where there is no store.
    explicit StoreWatch(RealLoop& loop);
    ~StoreWatch();
    StoreWatch(const StoreWatch&) = delete;
    StoreWatch& operator=(const StoreWatch&) = delete;

    // These block: call them off the loop, or before it runs. Idempotent.
    void add(const std::string& path);
    void remove(const std::string& path);

    /// Waits until something has happened since the last call (after each `add` it has) and answers
    /// with the paths that were added for it. Loop only, one caller at a time.
    Task<std::set<std::string>> next();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace basalt::hv::xen
