#pragma once
#include <functional>
#include <memory>

#include "base/loop.hpp"
#include "base/turn.hpp"

namespace boost::asio {
class io_context;
}

namespace basalt {

/// The loop of a daemon: an io_context driven by one thread, and a few pool threads for `offload`.
class RealLoop final : public Loop {
  public:
    explicit RealLoop(unsigned pool_threads = 4);
    ~RealLoop() override;

    [[nodiscard]] Time now() const override;
    [[nodiscard]] std::int64_t wall_ns() const override;
    [[nodiscard]] std::uint64_t random() override;
    [[nodiscard]] asio::any_io_executor executor() override;
    void post(Work work) override;
    TimerId at(Time when, Work work) override;
    void cancel(TimerId timer) override;
    void offload(Work work, Work done) override;

    /// Calls `handler` on the loop after every turn that did something. Before `run`.
    void on_turn(std::function<void(const turn::Report&)> handler);

    /// Turns the loop until `stop`; may be called again. Call from the thread that owns it.
    void run();
    void stop();
    /// Calls `handler` on the loop for each SIGTERM or SIGINT.
    void on_terminate(std::move_only_function<void()> handler);

    [[nodiscard]] asio::io_context& context();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace basalt
