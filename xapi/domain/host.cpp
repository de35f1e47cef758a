#include "xapi/domain/host.hpp"

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/balloons.hpp"
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
    co_return call.db().transact([&](db::Txn& txn) { return memory_free_bytes(txn, params.host); });
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
