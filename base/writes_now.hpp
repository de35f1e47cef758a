#pragma once
#include <cstddef>
#include <string_view>

namespace basalt {

/// What a Stream may also be able to do: most answers are taken by the kernel at once, and a
/// coroutine for each would cost more than the rest of the writing. Ask by dynamic_cast.
class WritesNow {
  public:
    virtual ~WritesNow() = default;
    /// Takes as many of the first bytes as go without waiting and returns how many; what is left
    /// (all of it when the stream is broken) goes to `write`, which tells what is wrong. Not while
    /// a write is under way.
    virtual std::size_t write_now(std::string_view bytes) = 0;
};

}  // namespace basalt
