#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/wait.hpp"
#include "idl/enums.hpp"
#include "xapi/core/call.hpp"

namespace basalt::core {

/// The rows of class task and the coroutines behind them. Loop only.
class Tasks {
  public:
    static constexpr auto finished_kept_for = std::chrono::minutes(65);
    static constexpr auto pending_kept_for = std::chrono::hours(24);

    /// Its limits are the core's: tasks_running, tasks_running_of_session, tasks_finished.
    explicit Tasks(Core& core);

    struct Spec {
        std::string name;
        std::string description{};
        xenapi::Ref<xenapi::Session> session{};
        xenapi::Ref<xenapi::Task> subtask_of{};
    };

    xenapi::Ref<xenapi::Task> insert(db::Txn& txn, Spec spec);

    using Body = std::function<Task<xenapi::Reply>(Call&)>;
    /// Runs `body` as the work of a new task and returns its ref at once. The task ends as the body
    /// ends: success with the result in wire form, failure with the error, or cancelled.
    xenapi::Ref<xenapi::Task> start(std::shared_ptr<Call> call, Body body,
                                    xenapi::Ref<xenapi::Task> subtask_of = {});

    /// Asks the work to stop; a task made by a client is cancelled at once. TASK_... codes as the
    /// real server.
    void cancel(xenapi::Ref<xenapi::Task> task);

    [[nodiscard]] bool is_running(xenapi::Ref<xenapi::Task> task) const {
        return running_.contains(task);
    }

    void set_progress(xenapi::Ref<xenapi::Task> task, double fraction);
    void succeed(db::Txn& txn, xenapi::Ref<xenapi::Task> task, const xenapi::Reply& reply);
    /// Ends a task with plain result text (HTTP handlers).
    void succeed_text(xenapi::Ref<xenapi::Task> task, std::string result);
    void fail(xenapi::Ref<xenapi::Task> task, const ApiError& error);
    void end_cancelled(xenapi::Ref<xenapi::Task> task);

    /// Writes the line of a call that worked on objects (it has a task), or that we broke.
    static void note_end(const Call& call, Time begun, const std::exception_ptr& failure);

    /// After a synchronous call: its row goes. Called by the dispatcher, whatever the outcome.
    void end_synchronous(Call& call);

    /// Cancels what runs and waits for its end.
    Task<void> stop();

    /// Forgets old finished tasks and fails those that nobody completes; runs until cancelled.
    Task<void> expire_forever();

  private:
    Task<void> run(std::shared_ptr<Call> call, Body body, xenapi::Ref<xenapi::Task> task);
    void finish(db::Txn& txn, xenapi::Ref<xenapi::Task> task, xenapi::TaskStatusType status);
    void expire();
    void require_room(xenapi::Ref<xenapi::Session> session);

    Core& core_;
    std::map<xenapi::Ref<xenapi::Task>, std::shared_ptr<Job>> running_;
    std::map<xenapi::Ref<xenapi::Session>, std::size_t> running_of_;
};

}  // namespace basalt::core
