#pragma once
#include <memory>
#include <string>

/// On whose behalf work is done. Log lines that are written meanwhile end with ` trace=...
/// task=...`.
///
/// It goes with the coroutine: every wait of base puts it away and takes it up again, and what
/// `shielded`, `within` and `all` run has that of their caller. A job of its own (`spawn`) starts
/// with none, since watchers outlive the call that happened to start them: give it a Scope where it
/// works for a call. Pool threads have none.
namespace basalt::log {

struct Context {
    std::string trace;  ///< of the call, the same in both daemons
    std::string task;   ///< reference, or empty
};

using ContextPtr = std::shared_ptr<const Context>;

/// Of the running coroutine; null when it works for nobody.
[[nodiscard]] const ContextPtr& context();
/// Its trace, or empty.
[[nodiscard]] std::string current_trace();

/// Sets the context until it goes; across co_await as well.
class Scope {
  public:
    explicit Scope(ContextPtr context);
    /// No context for an empty trace.
    explicit Scope(const std::string& trace);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

  private:
    ContextPtr before_;
};

/// Stands around the co_await of an operation that is not a coroutine itself: what runs meanwhile
/// has no context. For base's own waits.
class Suspension {
  public:
    Suspension();
    ~Suspension();
    Suspension(const Suspension&) = delete;
    Suspension& operator=(const Suspension&) = delete;

  private:
    ContextPtr mine_;
};

}  // namespace basalt::log
