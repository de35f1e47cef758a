#pragma once
#include "idl/api/event_api.hpp"
#include "idl/api/task_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class task: what clients do with tasks. How tasks run is in core/tasks.cpp.
class TaskDomain final : public xenapi::TaskApi {
  public:
    explicit TaskDomain(core::Core& core) : core_(core) {}

    basalt::Task<xenapi::Ref<xenapi::Task>> create(Call& call, xenapi::TaskCreate params) override;
    basalt::Task<void> destroy(Call& call, xenapi::TaskDestroy params) override;
    basalt::Task<void> cancel(Call& call, xenapi::TaskCancel params) override;
    basalt::Task<void> set_status(Call& call, xenapi::TaskSetStatus params) override;
    basalt::Task<void> set_progress(Call& call, xenapi::TaskSetProgress params) override;
    basalt::Task<void> set_result(Call& call, xenapi::TaskSetResult params) override;
    basalt::Task<void> set_error_info(Call& call, xenapi::TaskSetErrorInfo params) override;
    basalt::Task<void> set_other_config(Call& call, xenapi::TaskSetOtherConfig params) override;
    basalt::Task<void> add_to_other_config(Call& call,
                                           xenapi::TaskAddToOtherConfig params) override;
    basalt::Task<void> remove_from_other_config(Call& call,
                                                xenapi::TaskRemoveFromOtherConfig params) override;

  private:
    /// Own tasks are anybody's to end; others' need the permission `task.<what>/any`.
    void require_owner(Call& call, xenapi::Ref<xenapi::Task> task, const char* what) const;

    core::Core& core_;
};

/// Class event. How events are found is in core/events.cpp.
class EventDomain final : public xenapi::EventApi {
  public:
    explicit EventDomain(core::Core& core) : core_(core) {}

    basalt::Task<xenapi::EventBatch> from(Call& call, xenapi::EventFrom params) override;
    basalt::Task<std::vector<xenapi::WireEvent>> next(Call& call) override;
    basalt::Task<void> register_(Call& call, xenapi::EventRegister params) override;
    basalt::Task<void> unregister(Call& call, xenapi::EventUnregister params) override;
    basalt::Task<std::string> inject(Call& call, xenapi::EventInject params) override;
    basalt::Task<std::int64_t> get_current_id(Call& call) override;

  private:
    core::Core& core_;
};

}  // namespace basalt::domain
