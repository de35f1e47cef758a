#pragma once
// A server in memory whose objects are those of the recorded exchanges. For tests of this room.
#include <map>
#include <memory>
#include <string>

#include "idl/api/event_api.hpp"
#include "idl/api/host_api.hpp"
#include "idl/api/session_api.hpp"
#include "idl/api/task_api.hpp"
#include "idl/api/vm_api.hpp"
#include "idl/apis.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/events.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/db/store/store_sim.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::server::testing {

inline const std::string wire_directory = "tests/golden/wire/";

class FakeSession final : public xenapi::SessionApi {
  public:
    Task<xenapi::Ref<xenapi::Session>> login_with_password(
        Call& call, xenapi::SessionLoginWithPassword params) override;
    Task<xenapi::Ref<xenapi::Session>> slave_login(Call& call,
                                                   xenapi::SessionSlaveLogin params) override;
    Task<void> logout(Call& call) override;
};

class FakeVm final : public xenapi::VmApi {
  public:
    Task<xenapi::Ref<xenapi::Vm>> create(Call& call, xenapi::VmCreate params) override;
    Task<xenapi::Ref<xenapi::Vm>> clone(Call& call, xenapi::VmClone params) override;
    Task<void> hard_shutdown(Call& call, xenapi::VmHardShutdown params) override;
    Task<void> set_memory_limits(Call& call, xenapi::VmSetMemoryLimits params) override;
    Task<void> set_VCPUs_max(Call& call, xenapi::VmSetVCPUsMax params) override;
    Task<void> add_to_other_config(Call& call, xenapi::VmAddToOtherConfig params) override;
    Task<void> remove_from_other_config(Call& call,
                                        xenapi::VmRemoveFromOtherConfig params) override;
};

class FakeTask final : public xenapi::TaskApi {
  public:
    Task<xenapi::Ref<xenapi::Task>> create(Call& call, xenapi::TaskCreate params) override;
    Task<void> cancel(Call& call, xenapi::TaskCancel params) override;
    Task<void> destroy(Call& call, xenapi::TaskDestroy params) override;
    Task<void> set_status(Call& call, xenapi::TaskSetStatus params) override;
};

class FakeEvent final : public xenapi::EventApi {
  public:
    Task<std::int64_t> get_current_id(Call& call) override;
    Task<xenapi::EventBatch> from(Call& call, xenapi::EventFrom params) override;
};

class FakeHost final : public xenapi::HostApi {
  public:
    Task<std::vector<std::string>> list_methods(Call& call) override;
};

/// Everything between a memory stream and a simulated store, with a small domain of fakes.
class WireHouse {
  public:
    explicit WireHouse(std::uint64_t seed = 1);

    /// What the server sends for these bytes until it waits for more.
    std::string ask(const std::string& bytes, Peer peer);

    std::string ask(const std::string& bytes) {
        return ask(bytes, {.unix_socket = true, .trusted = true});
    }

    /// Makes the objects of a recorded JSON answer: a map of records, or one under `ref`.
    void load(std::string_view cls, const std::string& capture, const std::string& ref = {});
    void load_session(const std::string& ref);

    SimLoop loop;
    db::SimDisk disk;
    db::SimStore store;
    db::Database database;
    core::Core core;
    core::Tasks tasks;
    core::Events events;
    FakeSession session_api;
    FakeVm vm_api;
    FakeTask task_api;
    FakeEvent event_api;
    FakeHost host_api;
    xenapi::Apis apis;
    Sessions sessions;
    Metrics metrics;
    Dispatcher dispatcher;
    HttpAuth auth;
    Router router;
    Server server;
};

}  // namespace basalt::server::testing
