#pragma once
#include <memory>
#include <set>

#include "base/rpc_fwd.hpp"
#include "base/wait.hpp"

namespace basalt::testing {

/// What lies between a coordinator and a host: connections that can be cut at a given frame, and
/// frozen, which is how a process that is stopped looks from outside. Must outlive its channels.
class Wire {
  public:
    explicit Wire(Loop& loop) : thawed_(loop) {}

    /// As `inner`, under this wire's faults.
    std::unique_ptr<rpc::Channel> wrap(std::unique_ptr<rpc::Channel> inner);

    /// The connection breaks instead of carrying this frame, counted from now, both ways together;
    /// later ones carry on. Negative: never.
    void break_at(std::int64_t frame) { break_in_ = frame; }

    /// Frames are held, in both directions, until `thaw`.
    void freeze() { frozen_ = true; }

    void thaw();

    /// Carried so far.
    [[nodiscard]] std::int64_t frames() const { return frames_; }

    [[nodiscard]] bool broke() const { return broke_; }

  private:
    class Faulty;
    Task<void> pass(Faulty& channel);

    Signal thawed_;
    std::int64_t frames_ = 0;
    std::int64_t break_in_ = -1;
    bool broke_ = false;
    bool frozen_ = false;
};

}  // namespace basalt::testing
