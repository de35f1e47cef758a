#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/loop.hpp"

namespace basalt {

/// Suspends for a time. Cancellable.
Task<void> sleep_for(Loop& loop, Duration time);

/// Coroutines wait here until notified; a notification with nobody waiting is not kept.
/// Use as `while (!condition) co_await signal.wait();`. Loop only; waits are cancellable.
class Signal {
  public:
    explicit Signal(Loop& loop);
    ~Signal();
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;

    Task<void> wait();
    /// As `wait`, but returns false when `limit` passes first.
    Task<bool> wait_for(Duration limit);
    void notify_all();
    void notify_one();

    struct State;

  private:
    std::shared_ptr<State> state_;
};

/// A coroutine that was started: can be cancelled and waited for.
class Job {
  public:
    Job(Loop& loop, std::string name);

    [[nodiscard]] const std::string& name() const { return name_; }

    [[nodiscard]] bool finished() const { return finished_; }

    /// Null while it runs and after success.
    [[nodiscard]] const std::exception_ptr& failure() const { return failure_; }

    /// Asks the coroutine to end at its next wait; one that has not begun yet begins first.
    /// Idempotent.
    void cancel();
    /// Returns when it has ended, however it ended. Cancelling the wait does not cancel the job.
    Task<void> wait();
    /// As `wait`, then throws what the coroutine threw.
    Task<void> join();

  private:
    friend std::shared_ptr<Job> spawn(Loop&, std::string, Task<void>);
    struct Cancellation;
    static Task<void> begin(Loop& loop, std::shared_ptr<Job> job, Task<void> body);
    std::string name_;
    std::shared_ptr<Cancellation> cancellation_;
    Signal ended_;
    std::exception_ptr failure_;
    bool finished_ = false;
    bool observed_ = false;
};

/// Starts a coroutine on the loop. A failure that nobody joins is logged with the name.
std::shared_ptr<Job> spawn(Loop& loop, std::string name, Task<void> body);

/// Runs `body` to its end even when the caller is cancelled meanwhile (its result stands).
/// In a coroutine that was cancelled already every co_await throws, this one too: say
/// `co_await asio::this_coro::throw_if_cancelled(false)` first; afterwards (true), and rethrow.
Task<void> shielded(Task<void> body);

/// Runs `body`; when `limit` passes, cancels it, awaits its end and throws `late`.
/// Cancelling the caller cancels the body. A body that ended in spite of the cancel counts as done.
Task<void> within(Loop& loop, Duration limit, Task<void> body, ApiError late);

/// Runs all at once; returns when all have ended; throws the first failure (by position).
Task<void> all(Loop& loop, std::vector<Task<void>> bodies);

/// As `all`, but the first that fails cancels the others, and its failure is what is thrown.
Task<void> all_or_none(Loop& loop, std::vector<Task<void>> bodies);

/// Runs `work` on a pool thread and returns when it is done; throws what it threw. Not cancellable.
Task<void> offloaded(Loop& loop, Loop::Work work);

template <class T>
Task<void> store_result(std::shared_ptr<std::optional<T>> out, Task<T> body) {
    out->emplace(co_await std::move(body));
}

template <class T>
Task<T> within(Loop& loop, Duration limit, Task<T> body, ApiError late) {
    auto out = std::make_shared<std::optional<T>>();
    co_await within(loop, limit, store_result(out, std::move(body)), std::move(late));
    co_return std::move(**out);
}

/// `co_await blocking(loop, [..] { return stat(...); })`: the only door to calls that may block.
template <class F>
Task<std::invoke_result_t<F&>> blocking(Loop& loop, F work) {
    using R = std::invoke_result_t<F&>;
    if constexpr (std::is_void_v<R>) {
        co_await offloaded(loop, Loop::Work(std::move(work)));
    } else {
        auto out = std::make_shared<std::optional<R>>();
        Loop::Work store([out, work = std::move(work)]() mutable { out->emplace(work()); });
        co_await offloaded(loop, std::move(store));
        co_return std::move(**out);
    }
}

/// Orders work by key: who holds a key's lease works, the rest wait in line.
class ObjectQueue {
  public:
    explicit ObjectQueue(Loop& loop) : loop_(loop) {}

    class Lease {
      public:
        Lease(ObjectQueue& queue, std::string key) : queue_(&queue), key_(std::move(key)) {}

        Lease(Lease&& other) noexcept
            : queue_(std::exchange(other.queue_, nullptr)), key_(std::move(other.key_)) {}

        Lease& operator=(Lease&&) = delete;

        ~Lease() {
            if (queue_ != nullptr) queue_->release(key_);
        }

      private:
        ObjectQueue* queue_;
        std::string key_;
    };

    /// First come, first served. Cancellable while waiting.
    Task<Lease> acquire(std::string key);

  private:
    struct Line {
        std::deque<std::uint64_t> tickets;
        std::unique_ptr<Signal> moved;
    };

    void release(const std::string& key);
    void leave(const std::string& key, std::uint64_t ticket);

    Loop& loop_;
    std::uint64_t last_ticket_ = 0;
    std::map<std::string, Line> lines_;
};

}  // namespace basalt
