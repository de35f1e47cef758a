#include "xapi/core/call.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"

namespace basalt {

namespace {
// Progress is volatile, but every write is an event: more often than this helps nobody.
constexpr auto progress_interval = 250ms;
}  // namespace

Call::Call(core::Core& core, const xenapi::MessageInfo& message, Caller caller)
    : core_(core),
      message_(message),
      caller_(std::move(caller)),
      context_(std::make_shared<log::Context>(
          log::Context{core.loop.new_uuid().text().substr(0, 8), {}})) {}

Call::~Call() {
    if (!operations_.empty() && core_.hosts != nullptr) core_.hosts->landed(operations_);
}

db::Database& Call::db() const {
    return core_.db;
}

xenapi::Ref<xenapi::Task> Call::task(db::Txn& txn) {
    if (task_ && txn.find(task_) != nullptr) return task_;
    adopt_task(core_.tasks->insert(
        txn, {.name = std::string(message_.wire_name), .session = caller_.session}));
    return task_;
}

void Call::adopt_task(xenapi::Ref<xenapi::Task> task) {
    task_ = task;
    context_->task = task.text();
}

void Call::progress(double fraction) {
    fraction = std::clamp(fraction, 0.0, 1.0);
    if (!task_ || fraction <= progress_) return;
    progress_ = fraction;
    if (core_.loop.now() - progress_written_ < progress_interval) return;
    progress_written_ = core_.loop.now();
    core_.tasks->set_progress(task_, fraction);
}

void Call::succeed(db::Txn& txn, const xenapi::Reply& reply) {
    if (!task_) return;
    core_.tasks->succeed(txn, task_, reply);
    ended_ = true;
}

Task<void> Call::committed() {
    co_await core_.db.durable(core_.db.published());
    core_.reach(message_.wire_name, "intent");
}

agent::Operation Call::operation(double from, double to) {
    operations_.push_back(core_.new_uuid());
    return {operations_.back(), core_.term,
            [this, from, to](double value) { progress(from + value * (to - from)); }, trace()};
}

}  // namespace basalt
