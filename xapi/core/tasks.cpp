#include "xapi/core/tasks.hpp"

#include <algorithm>

#include "base/context.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/task.hpp"
#include "xapi/core/audit_log.hpp"
#include "xapi/core/core.hpp"

namespace basalt::core {

namespace {

using xenapi::Ref;
using xenapi::TaskStatusType;
using TaskRow = xenapi::Task;

/// How old a task gets for which nothing has been done and whose maker's session has ended.
constexpr auto orphan_kept_for = std::chrono::minutes(10);

bool is_pending(const TaskRow& task) {
    return task.status == TaskStatusType::pending || task.status == TaskStatusType::cancelling;
}

// Even JSON clients get the result as XML text.
std::string result_text(const xenapi::Reply& reply) {
    std::string text;
    wire::XmlWriter writer(text);
    reply.write_xml(writer);
    return text;
}

}  // namespace

Ref<TaskRow> Tasks::insert(db::Txn& txn, Spec spec) {
    TaskRow row;
    row.name_label = std::move(spec.name);
    row.name_description = std::move(spec.description);
    row.created = xenapi::DateTime{core_.now_seconds()};
    row.status = TaskStatusType::pending;
    row.resident_on = core_.this_host;
    row.type = "<none/>";
    row.session = spec.session;
    row.subtask_of = spec.subtask_of;
    return txn.insert(std::move(row));
}

Tasks::Tasks(Core& core) : core_(core) {
    core_.limits.use(Limit::tasks_running, [this] { return running_.size(); });
}

void Tasks::require_room(Ref<xenapi::Session> session) {
    const auto refuse = [this](Limit limit) {
        core_.limits.exceeded(limit);
        throw err::too_many_pending_tasks();
    };
    if (running_.size() >= core_.limits.max(Limit::tasks_running)) refuse(Limit::tasks_running);
    const auto found = running_of_.find(session);
    if (found != running_of_.end() &&
        found->second >= core_.limits.max(Limit::tasks_running_of_session))
        refuse(Limit::tasks_running_of_session);
}

Ref<TaskRow> Tasks::start(std::shared_ptr<Call> call, Body body, Ref<TaskRow> subtask_of) {
    const Ref<xenapi::Session> session = call->caller().session;
    require_room(session);
    const std::string name = "Async." + std::string(call->message().wire_name);
    const Ref<TaskRow> task = core_.db.transact([&](db::Txn& txn) {
        const Ref<TaskRow> row = insert(
            txn, {.name = name, .session = call->caller().session, .subtask_of = subtask_of});
        txn.edit(row).allowed_operations = {xenapi::TaskAllowedOperations::cancel};
        return row;
    });
    call->adopt_task(task);
    ++running_of_[session];
    running_[task] = spawn(core_.loop, name, run(std::move(call), std::move(body), task));
    return task;
}

Task<void> Tasks::run(std::shared_ptr<Call> call, Body body, Ref<TaskRow> task) {
    const log::Scope scope(call->context());
    const Time begun = core_.loop.now();
    std::exception_ptr failure;
    xenapi::Reply reply;
    try {
        reply = co_await body(*call);
    } catch (...) {
        failure = std::current_exception();
    }
    running_.erase(task);
    note_end(*call, begun, failure);
    const auto of_session = running_of_.find(call->caller().session);
    if (--of_session->second == 0) running_of_.erase(of_session);
    if (core_.db.find(task) == nullptr || call->ended()) co_return;
    if (!failure) {
        core_.db.transact([&](db::Txn& txn) { succeed(txn, task, reply); });
    } else if (is_cancellation(failure)) {
        end_cancelled(task);
    } else {
        const ApiError error = as_api_error(failure);
        core_.undeclared.note(call->message(), error.code());
        fail(task, error);
    }
}

void Tasks::note_end(const Call& call, Time begun, const std::exception_ptr& failure) {
    const bool cancelled = failure && is_cancellation(failure);
    const std::string result = !failure    ? "ok"
                               : cancelled ? "cancelled"
                                           : as_api_error(failure).what();
    if (AuditLog* const audit = call.core().audit)
        audit->note(call.message(), call.caller(),
                    !failure    ? ""
                    : cancelled ? "TASK_CANCELLED"
                                : as_api_error(failure).code());
    const auto took = std::chrono::duration_cast<Millis>(call.core().loop.now() - begun).count();
    const log::Fields fields = {
        {"method", call.message().wire_name}, {"ms", took}, {"result", result}};
    if (failure && !cancelled && as_api_error(failure).code() == "INTERNAL_ERROR") {
        log::warn("call_failed", fields);
    } else if (call.task()) {
        log::info("call", fields);
    }
}

void Tasks::cancel(Ref<TaskRow> task) {
    const TaskRow& row = core_.db.get(task);
    if (!is_pending(row)) return;
    const auto found = running_.find(task);
    if (found == running_.end()) return end_cancelled(task);
    core_.db.transact([&](db::Txn& txn) {
        TaskRow& edited = txn.edit(task);
        edited.status = TaskStatusType::cancelling;
        edited.allowed_operations.clear();
    });
    found->second->cancel();
}

void Tasks::set_progress(Ref<TaskRow> task, double fraction) {
    const TaskRow* row = core_.db.find(task);
    if (row == nullptr || !is_pending(*row)) return;
    core_.db.transact([&](db::Txn& txn) { txn.edit(task).progress = fraction; });
}

void Tasks::finish(db::Txn& txn, Ref<TaskRow> task, TaskStatusType status) {
    TaskRow& row = txn.edit(task);
    row.status = status;
    row.finished = xenapi::DateTime{core_.now_seconds()};
    row.allowed_operations.clear();
    row.progress = 1;
}

void Tasks::succeed(db::Txn& txn, Ref<TaskRow> task, const xenapi::Reply& reply) {
    if (const TaskRow* row = txn.find(task); row == nullptr || !is_pending(*row)) return;
    finish(txn, task, TaskStatusType::success);
    txn.edit(task).result = result_text(reply);
}

void Tasks::succeed_text(Ref<TaskRow> task, std::string result) {
    const TaskRow* row = core_.db.find(task);
    if (row == nullptr || !is_pending(*row)) return;
    core_.db.transact([&](db::Txn& txn) {
        finish(txn, task, TaskStatusType::success);
        txn.edit(task).result = std::move(result);
    });
}

void Tasks::fail(Ref<TaskRow> task, const ApiError& error) {
    const TaskRow* row = core_.db.find(task);
    if (row == nullptr || !is_pending(*row)) return;
    log::info("task_failed",
              {{"task", task.text()}, {"name", row->name_label}, {"error", error.what()}});
    core_.db.transact([&](db::Txn& txn) {
        finish(txn, task, TaskStatusType::failure);
        std::vector<std::string> words{error.code()};
        words.insert(words.end(), error.params().begin(), error.params().end());
        txn.edit(task).error_info = std::move(words);
    });
}

void Tasks::end_cancelled(Ref<TaskRow> task) {
    const TaskRow* row = core_.db.find(task);
    if (row == nullptr || !is_pending(*row)) return;
    core_.db.transact([&](db::Txn& txn) {
        finish(txn, task, TaskStatusType::cancelled);
        txn.edit(task).error_info = {"TASK_CANCELLED", task.text()};
    });
}

void Tasks::end_synchronous(Call& call) {
    if (!call.task() || core_.db.find(call.task()) == nullptr) return;
    core_.db.transact([&](db::Txn& txn) { txn.erase(call.task()); });
}

Task<void> Tasks::stop() {
    std::vector<std::shared_ptr<Job>> jobs;
    for (const auto& [task, job] : running_)
        jobs.push_back(job);
    for (const auto& job : jobs)
        job->cancel();
    for (const auto& job : jobs)
        co_await job->wait();
}

Task<void> Tasks::expire_forever() {
    for (;;) {
        co_await sleep_for(core_.loop, 60s);
        expire();
    }
}

void Tasks::expire() {
    const std::int64_t now = core_.now_seconds();
    const std::int64_t finished_limit = now - std::chrono::seconds(finished_kept_for).count();
    const std::int64_t pending_limit = now - std::chrono::seconds(pending_kept_for).count();
    const std::int64_t orphan_limit = now - std::chrono::seconds(orphan_kept_for).count();
    std::vector<std::pair<std::int64_t, Ref<TaskRow>>> finished;
    std::vector<Ref<TaskRow>> abandoned;
    core_.db.each<TaskRow>([&](Ref<TaskRow> ref, const TaskRow& row) {
        if (!is_pending(row)) {
            finished.emplace_back(row.finished.seconds, ref);
            return;
        }
        // Such as one for an upload whose client went away before it had sent anything. The
        // reference to a session that has ended is null.
        const bool orphan = row.session.null() && row.progress == 0;
        if (!is_running(ref) && row.created.seconds < (orphan ? orphan_limit : pending_limit))
            abandoned.push_back(ref);
    });
    std::ranges::sort(finished);
    const std::size_t kept_max = core_.limits.max(Limit::tasks_finished);
    const std::size_t surplus = finished.size() > kept_max ? finished.size() - kept_max : 0;
    core_.db.transact([&](db::Txn& txn) {
        for (std::size_t i = 0; i < finished.size(); ++i)
            if (i < surplus || finished[i].first < finished_limit) txn.erase(finished[i].second);
    });
    for (const Ref<TaskRow> task : abandoned)
        fail(task, err::task_cancelled(task));
}

}  // namespace basalt::core
