#pragma once
#include <thread>

#include "base/fd.hpp"

namespace basalt::hv::xen {

/// What libxl writes a saved domain to. It does not outlive a sink that takes not even its first
/// bytes: it calls a null pointer then (seen with 4.20). So it writes into a pipe, and a thread
/// passes that on; once the beginning is through, a sink that fails closes the pipe. Pool threads
/// only.
class Outlet {
  public:
    /// `sink` blocks and outlives this. Throws INTERNAL_ERROR when there is no pipe to be had.
    explicit Outlet(int sink);
    ~Outlet();
    Outlet(const Outlet&) = delete;
    Outlet& operator=(const Outlet&) = delete;

    /// The end to write to.
    [[nodiscard]] int end() const { return end_.get(); }

    /// Waits until all that was written is passed on. The sink's errno; 0: it has everything.
    int finish();

  private:
    void pass_on(int sink, UniqueFd from);

    UniqueFd end_;
    int failed_ = 0;  // the thread's, until it has ended
    std::thread thread_;
};

}  // namespace basalt::hv::xen
