#pragma once
#include <functional>

#include "base/async.hpp"
#include "base/uuid.hpp"

namespace basalt {

/// Time, order, randomness and threads, injected. One thread owns a loop and all state behind it.
/// Two forms: RealLoop (io_context) and SimLoop (virtual time, seeded, no kernel).
class Loop {
  public:
    using Work = std::move_only_function<void()>;
    using TimerId = std::uint64_t;

    Loop() = default;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    virtual ~Loop() = default;

    [[nodiscard]] virtual Time now() const = 0;
    /// Nanoseconds since 1970 UTC.
    [[nodiscard]] virtual std::int64_t wall_ns() const = 0;
    [[nodiscard]] virtual std::uint64_t random() = 0;
    [[nodiscard]] virtual asio::any_io_executor executor() = 0;

    /// Runs `work` on the loop, soon, never inside the call. The real loop takes this from any
    /// thread.
    virtual void post(Work work) = 0;
    virtual TimerId at(Time when, Work work) = 0;
    /// Forgets a timer; one that has run is ignored.
    virtual void cancel(TimerId timer) = 0;
    /// Runs `work` off the loop (a pool thread), then `done` on it. Use `blocking()` instead.
    virtual void offload(Work work, Work done) = 0;

    [[nodiscard]] Uuid new_uuid() {
        const std::uint64_t high = random();
        return Uuid::from_words(high, random());
    }
};

}  // namespace basalt
