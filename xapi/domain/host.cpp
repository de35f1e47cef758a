#include "xapi/domain/host.hpp"

#include "base/json.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/system_status.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<void> HostDomain::enable(Call& call, HostEnable params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.host).enabled = true; });
    co_return;
}

Task<void> HostDomain::disable(Call& call, HostDisable params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.host).enabled = false; });
    co_return;
}

Task<std::string> HostDomain::call_plugin(Call& call, HostCallPlugin params) {
    if (call.db().find(params.host) == nullptr) throw err::handle_invalid("host", params.host);
    co_return co_await core_.hosts->agent(params.host)
        .plugin_call({params.plugin,
                      params.fn,
                      {params.args.begin(), params.args.end()},
                      call.caller().session.text()});
}

Task<bool> HostDomain::has_extension(Call& call, HostHasExtension params) {
    (void)call.db().get(params.host);
    co_return co_await core_.hosts->agent(params.host).has_extension({std::move(params.name)});
}

Task<std::string> HostDomain::call_extension(Call& call, HostCallExtension params) {
    (void)call.db().get(params.host);
    // A call as JSON-RPC has it; the script of its method's name serves it.
    std::string method = text_member(parse_foreign_json(params.call), "method");
    if (method.empty()) throw err::invalid_value("call", params.call.substr(0, 256));
    co_return co_await core_.hosts->agent(params.host)
        .extension_call({std::move(method), std::move(params.call)});
}

Task<Ref<Blob>> HostDomain::create_new_blob(Call& call, HostCreateNewBlob params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return attach_blob(txn, params.host, {params.name, params.mime_type, params.public_});
    });
}

Task<std::string> HostDomain::dmesg(Call& call, HostDmesg params) {
    (void)call.db().get(params.host);
    return core_.hosts->agent(params.host).host_log({agent::HostLog::kernel, false});
}

Task<std::string> HostDomain::dmesg_clear(Call& call, HostDmesgClear params) {
    (void)call.db().get(params.host);
    return core_.hosts->agent(params.host).host_log({agent::HostLog::kernel, true});
}

Task<std::string> HostDomain::get_log(Call& call, HostGetLog params) {
    (void)call.db().get(params.host);
    return core_.hosts->agent(params.host).host_log({agent::HostLog::agent, false});
}

Task<std::string> HostDomain::get_system_status_capabilities(
    Call& call, HostGetSystemStatusCapabilities params) {
    (void)call.db().get(params.host);
    co_return core::system_status_capabilities();
}

Task<bool> HostDomain::is_in_emergency_mode(Call&) {
    co_return false;
}

Task<void> HostDomain::local_assert_healthy(Call&) {
    if (!core_.booted) throw err::host_still_booting();
    co_return;
}

Task<DateTime> HostDomain::get_servertime(Call& call, HostGetServertime params) {
    (void)call.db().get(params.host);
    co_return DateTime{(co_await core_.hosts->agent(params.host).host_time({})).seconds};
}

Task<DateTime> HostDomain::get_server_localtime(Call& call, HostGetServerLocaltime params) {
    (void)call.db().get(params.host);
    const agent::HostTime now = co_await core_.hosts->agent(params.host).host_time({});
    // The form without a zone, which is what clients expect here.
    co_return DateTime{now.seconds + now.utc_offset_seconds, true};
}

Task<std::int64_t> HostDomain::compute_free_memory(Call& call, HostComputeFreeMemory params) {
    co_return call.db().transact(
        [&](db::Txn& txn) { return memory_free_bytes(txn, beside_.memory, params.host); });
}

Task<std::int64_t> HostDomain::compute_memory_overhead(Call& call,
                                                       HostComputeMemoryOverhead params) {
    std::int64_t overhead = call.db().get(params.host).memory_overhead;
    call.db().each<Vm>([&](Ref<Vm>, const Vm& vm) {
        if (vm.resident_on == params.host) overhead += vm.memory_overhead;
    });
    co_return overhead;
}

Task<std::vector<Ref<Vm>>> HostDomain::get_uncooperative_resident_VMs(
    Call& call, HostGetUncooperativeResidentVMs params) {
    co_return call.db().transact([&](db::Txn& txn) {
        std::vector<Ref<Vm>> out;
        for (const auto vm : txn.get(params.self).resident_VMs)
            if (const Vm* row = txn.find(vm); row != nullptr && !is_cooperative(txn, *row))
                out.push_back(vm);
        return out;
    });
}

Task<Ref<Pif>> HostDomain::get_management_interface(Call& call, HostGetManagementInterface params) {
    for (const auto pif : call.db().get(params.host).PIFs)
        if (call.db().get(pif).management) co_return pif;
    throw err::host_has_no_management_ip();
}

Task<std::vector<std::string>> HostDomain::list_methods(Call&) {
    std::vector<std::string> names;
    for (const ClassInfo& cls : classes())
        for (const MessageInfo& message : cls.messages)
            if (!message.hidden && !message.removed()) names.emplace_back(message.wire_name);
    co_return names;
}

}  // namespace basalt::domain
