#include "xapi/domain/task.hpp"

#include "idl/errors.hpp"
#include "idl/records/session.hpp"
#include "idl/records/task.hpp"
#include "xapi/core/events.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

template <class F>
void edit(Call& call, Ref<xenapi::Task> task, F change) {
    call.db().transact([&](db::Txn& txn) { change(txn.edit(task)); });
}

bool is_ended(TaskStatusType status) {
    return status == TaskStatusType::success || status == TaskStatusType::failure ||
           status == TaskStatusType::cancelled;
}

}  // namespace

Task<Ref<xenapi::Task>> TaskDomain::create(Call& call, TaskCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return core_.tasks->insert(txn, {.name = std::move(params.label),
                                         .description = std::move(params.description),
                                         .session = call.caller().session});
    });
}

void TaskDomain::require_owner(Call& call, Ref<xenapi::Task> task, const char* what) const {
    const xenapi::Task& row = call.db().get(task);
    if (call.caller().root || row.session == call.caller().session) return;
    const Session* owner = call.db().find(row.session);
    if (owner != nullptr && owner->auth_user_name == call.caller().user) return;
    const std::string permission = std::string("task.") + what + "/any";
    for (const Permission& known : extra_permissions())
        if (known.name == permission && (known.roles & call.caller().roles) != 0) return;
    throw err::rbac_permission_denied(permission, "The task belongs to another user");
}

Task<void> TaskDomain::destroy(Call& call, TaskDestroy params) {
    require_owner(call, params.self, "destroy");
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> TaskDomain::cancel(Call& call, TaskCancel params) {
    require_owner(call, params.task, "cancel");
    core_.tasks->cancel(params.task);
    co_return;
}

Task<void> TaskDomain::set_status(Call& call, TaskSetStatus params) {
    edit(call, params.self, [&](xenapi::Task& row) {
        row.status = params.value;
        if (is_ended(params.value)) row.finished = DateTime{core_.now_seconds()};
    });
    co_return;
}

Task<void> TaskDomain::set_progress(Call& call, TaskSetProgress params) {
    edit(call, params.self, [&](xenapi::Task& row) { row.progress = params.value; });
    co_return;
}

Task<void> TaskDomain::set_result(Call& call, TaskSetResult params) {
    edit(call, params.self, [&](xenapi::Task& row) { row.result = std::move(params.value); });
    co_return;
}

Task<void> TaskDomain::set_error_info(Call& call, TaskSetErrorInfo params) {
    edit(call, params.self, [&](xenapi::Task& row) { row.error_info = std::move(params.value); });
    co_return;
}

Task<void> TaskDomain::set_other_config(Call& call, TaskSetOtherConfig params) {
    edit(call, params.self, [&](xenapi::Task& row) { row.other_config = std::move(params.value); });
    co_return;
}

Task<void> TaskDomain::add_to_other_config(Call& call, TaskAddToOtherConfig params) {
    edit(call, params.self, [&](xenapi::Task& row) {
        if (!row.other_config.emplace(params.key, params.value).second)
            throw err::map_duplicate_key("task", "other_config", params.self, params.key);
    });
    co_return;
}

Task<void> TaskDomain::remove_from_other_config(Call& call, TaskRemoveFromOtherConfig params) {
    edit(call, params.self, [&](xenapi::Task& row) { row.other_config.erase(params.key); });
    co_return;
}

Task<EventBatch> EventDomain::from(Call& call, EventFrom params) {
    return core_.events->from(call, std::move(params.classes), std::move(params.token),
                              params.timeout);
}

Task<std::vector<WireEvent>> EventDomain::next(Call& call) {
    return core_.events->next(call);
}

Task<void> EventDomain::register_(Call& call, EventRegister params) {
    core_.events->subscribe(call.caller().session, params.classes);
    co_return;
}

Task<void> EventDomain::unregister(Call& call, EventUnregister params) {
    core_.events->unsubscribe(call.caller().session, params.classes);
    co_return;
}

Task<std::string> EventDomain::inject(Call&, EventInject params) {
    co_return core_.events->inject(params.class_, params.ref);
}

Task<std::int64_t> EventDomain::get_current_id(Call&) {
    co_return core_.events->current_id();
}

}  // namespace basalt::domain
