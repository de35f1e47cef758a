#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/rpc.hpp"
#include "host-agent/run/journal.hpp"

namespace basalt::agent {

/// Changes the world: one act at a time, through the backends.
class Acts {
  public:
    virtual ~Acts() = default;
    /// Does `act`; answers what a `call` answered, else null. Cancellable; one that throws has
    /// changed nothing.
    virtual Task<nlohmann::json> perform(plan::Act act, rpc::Progress progress) = 0;
    /// What the verb of `plan` answers; `last` is what its last act answered.
    virtual nlohmann::json result(const plan::Plan& plan, nlohmann::json last) = 0;
};

/// Where in a step a probe is called.
enum class Moment : std::uint8_t { before, inside, after };
std::string_view text(Moment moment);

/// Runs plans: journal before act, cancellation between steps and at waits, undo with a deadline a
/// step, the same operation id once only. Loop only. Objects it refers to must outlive it; it must
/// outlive its operations (`stop` awaits them).
class Runner {
  public:
    /// Makes the plan once the object's turn has come; its exception refuses the operation.
    using Planner = std::function<plan::Plan()>;

    struct Request {
        std::string id;
        std::string verb;
        nlohmann::json args;
        std::int64_t term = 0;
        std::string object;  // operations on the same one wait in line; empty: no line
        bool keep = true;    // the result, until acknowledged
        std::string trace;   // of the call behind it, for log lines
        rpc::Progress progress;
    };

    using Moment = agent::Moment;
    /// For tests: called around each step (also of an undo); may call `stop_now`.
    using Probe = std::function<void(const std::string& verb, const std::string& step, Moment)>;

    Runner(Loop& loop, Journal& journal, Acts& acts);
    ~Runner();

    /// Runs, joins or remembers the operation `id` and returns its result or throws its error.
    /// Cancelling cancels the operation, and returns once it is undone.
    Task<nlohmann::json> run(Request request, Planner planner);
    /// Finishes or undoes what the journal says was under way; returns when all plans of guests
    /// have ended. Calls (storage) go on behind. Call after the backends have adopted.
    Task<void> recover();
    /// Cancels what coordinators of lower terms asked for, and returns when all of it has ended.
    /// What hostd does of itself goes on.
    Task<void> end_older(std::int64_t term);
    /// Tries each leftover once more.
    Task<void> retry_leftovers();

    [[nodiscard]] std::size_t running() const { return running_.size(); }

    /// Operations on `object` wait while the lease is held.
    Task<ObjectQueue::Lease> hold(std::string object) { return queue_.acquire(std::move(object)); }

    /// As if the process died: nothing more is begun, journaled or undone.
    void stop_now();
    /// Returns when no coroutine of the runner is left; call `stop_now` first.
    Task<void> stopped();

    Probe probe;
    /// Called when the domain of a VM has become a leftover, before the operation ends, and when
    /// it is none any more.
    std::function<void(const std::string& vm)> on_left_over;

  private:
    struct Running;
    using Handle = std::shared_ptr<Running>;

    Task<void> operate(Handle op);
    Task<void> collect(Handle op);
    Task<void> go(Handle op);
    Task<void> step_forward(Handle op, std::size_t index);
    Task<void> press_on(Handle op);
    Task<void> undo(Handle op);
    /// Answers why it failed, or nothing.
    Task<std::string> undo_act(Handle op, plan::Act act);
    Task<void> leave(std::string operation, std::vector<plan::Act> acts, std::string why);
    Task<void> settle(Handle op);
    Task<void> retry_leftovers_of(std::string object);
    void tell_left_over(const plan::Act& act) const;
    void refuse_over_leftovers(const plan::Plan& plan) const;
    void check_alive() const;
    Task<nlohmann::json> await_result(Handle op);
    Handle start(Request request, Planner planner, std::optional<Entry> recovered);
    void refuse_other_arguments(const Request& request, const Entry& entry) const;
    void note(const Handle& op, const std::string& step, Moment moment) const;

    Loop& loop_;
    Journal& journal_;
    Acts& acts_;
    ObjectQueue queue_;
    std::map<std::string, Handle> running_;
    bool dead_ = false;
};

}  // namespace basalt::agent
