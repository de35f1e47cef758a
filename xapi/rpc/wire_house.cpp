#include "xapi/rpc/wire_house.hpp"

#include <gtest/gtest.h>

#include "idl/errors.hpp"
#include "idl/records/session.hpp"
#include "idl/records/task.hpp"
#include "idl/records/vm.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/core/secret.hpp"

namespace basalt::server::testing {

using xenapi::Ref;
using xenapi::Vm;

Task<Ref<xenapi::Session>> FakeSession::login_with_password(
    Call& call, xenapi::SessionLoginWithPassword params) {
    if (params.pwd == "bad") {
        co_await sleep_for(call.core().loop, 5s);
        throw err::session_authentication_failed(params.uname, "Authentication failure");
    }
    xenapi::Session row;
    row.is_local_superuser = true;
    row.auth_user_name = params.uname;
    row.originator = params.originator;
    row.last_active = xenapi::DateTime{call.core().now_seconds()};
    co_return call.db().transact([&](db::Txn& txn) { return txn.insert(row); });
}

Task<Ref<xenapi::Session>> FakeSession::slave_login(Call& call, xenapi::SessionSlaveLogin params) {
    if (!core::is_secret(call.core().pool_secret, params.psecret.reveal()))
        throw err::session_authentication_failed(params.host, "Pool credentials invalid");
    co_return call.db().transact(
        [&](db::Txn& txn) { return txn.insert(xenapi::Session{.pool = true}); });
}

Task<void> FakeSession::logout(Call& call) {
    call.db().transact([&](db::Txn& txn) { txn.erase(call.caller().session); });
    co_return;
}

Task<Ref<Vm>> FakeVm::create(Call& call, xenapi::VmCreate params) {
    co_return call.db().transact([&](db::Txn& txn) { return txn.insert(std::move(params.args)); });
}

Task<Ref<Vm>> FakeVm::clone(Call& call, xenapi::VmClone params) {
    Vm copy = call.db().get(params.vm);
    co_await sleep_for(call.core().loop, 1s);  // a client sees the task pending
    copy.uuid.clear();
    copy.name_label = params.new_name;
    co_return call.db().transact([&](db::Txn& txn) { return txn.insert(std::move(copy)); });
}

Task<void> FakeVm::hard_shutdown(Call&, xenapi::VmHardShutdown params) {
    throw err::vm_bad_power_state(params.vm, "paused, suspended, running", "halted");
    co_return;
}

Task<void> FakeVm::set_memory_limits(Call&, xenapi::VmSetMemoryLimits) {
    co_return;
}

Task<void> FakeVm::set_VCPUs_max(Call&, xenapi::VmSetVCPUsMax params) {
    throw err::invalid_value("VCPU values must satisfy: 0 < VCPUs_at_startup ≤ VCPUs_max",
                             params.value);
    co_return;
}

Task<void> FakeVm::add_to_other_config(Call& call, xenapi::VmAddToOtherConfig params) {
    call.db().transact([&](db::Txn& txn) {
        if (!txn.edit(params.self).other_config.emplace(params.key, params.value).second)
            throw err::map_duplicate_key("VM", "other_config", params.self, params.key);
    });
    co_return;
}

Task<void> FakeVm::remove_from_other_config(Call& call, xenapi::VmRemoveFromOtherConfig params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).other_config.erase(params.key); });
    co_return;
}

Task<Ref<xenapi::Task>> FakeTask::create(Call& call, xenapi::TaskCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return call.core().tasks->insert(txn,
                                         {.name = params.label, .description = params.description});
    });
}

Task<void> FakeTask::cancel(Call& call, xenapi::TaskCancel params) {
    call.core().tasks->cancel(params.task);
    co_return;
}

Task<void> FakeTask::destroy(Call& call, xenapi::TaskDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> FakeTask::set_status(Call& call, xenapi::TaskSetStatus params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).status = params.value; });
    co_return;
}

Task<std::int64_t> FakeEvent::get_current_id(Call&) {
    co_return 0;
}

Task<xenapi::EventBatch> FakeEvent::from(Call& call, xenapi::EventFrom params) {
    return call.core().events->from(call, std::move(params.classes), std::move(params.token),
                                    params.timeout);
}

Task<std::vector<std::string>> FakeHost::list_methods(Call&) {
    throw err::not_implemented("list_method");
    co_return std::vector<std::string>{};
}

WireHouse::WireHouse(std::uint64_t seed)
    : loop(seed),
      store(loop, disk),
      database(loop, store, nullptr),
      core(loop, database),
      tasks(core),
      events(core),
      sessions(core),
      dispatcher(core, apis, sessions, metrics),
      auth(core, apis, sessions),
      server(loop, router, nullptr, core.limits) {
    core.tasks = &tasks;
    core.events = &events;
    apis.use(session_api);
    apis.use(vm_api);
    apis.use(task_api);
    apis.use(event_api);
    apis.use(host_api);
    add_rpc_routes(router, loop, dispatcher, core.limits);
    add_static_route(router, loop, "");
    auth.add_unserved(router);
    add_metrics_route(router, auth, metrics);
}

std::string WireHouse::ask(const std::string& bytes, Peer peer) {
    auto [near, far] = memory_streams(loop);
    server.serve(std::move(far), Scheme::http, std::move(peer));
    std::string out;
    const auto client = spawn(loop, "client", exchange_bytes(std::move(near), bytes, out));
    loop.run_until([&] { return client->finished(); }, 1h);
    EXPECT_TRUE(client->finished());
    return out;
}

void WireHouse::load(std::string_view cls_name, const std::string& capture,
                     const std::string& ref) {
    const std::string text = read_file(wire_directory + capture + ".resp");
    const wire::Value answer = wire::parse_json(text.substr(text.find("\r\n\r\n") + 4));
    const xenapi::ClassInfo& cls = *xenapi::find_class(cls_name);
    wire::Object rows;
    if (ref.empty()) {
        rows = *answer.find("result")->get<wire::Object>();
    } else {
        rows.push_back({ref, *answer.find("result")});
    }
    database.transact([&](db::Txn& txn) {
        for (const wire::Member& row : rows) {
            const std::shared_ptr<void> record = cls.record.create();
            xenapi::read_record(cls, row.value, record.get(), xenapi::RecordMode::full);
            txn.insert_as(cls, *xenapi::parse_ref(row.name), record);
        }
    });
}

void WireHouse::load_session(const std::string& ref) {
    xenapi::Session row;
    row.uuid = loop.new_uuid().text();
    row.is_local_superuser = true;
    row.auth_user_name = "root";
    row.last_active = xenapi::DateTime{core.now_seconds()};
    database.transact(
        [&](db::Txn& txn) { txn.insert_as(Ref<xenapi::Session>(*xenapi::parse_ref(ref)), row); });
}

}  // namespace basalt::server::testing
