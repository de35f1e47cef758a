// Class host: what the hypervisor below it can be told.
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

// Virtual processors are scheduled one by one, by Linux and by Xen as it is booted here.
Task<HostSchedGran> HostDomain::get_sched_gran(Call& call, HostGetSchedGran params) {
    (void)call.db().get(params.self);
    co_return HostSchedGran::cpu;
}

Task<void> HostDomain::set_sched_gran(Call& call, HostSetSchedGran params) {
    (void)call.db().get(params.self);
    if (params.value != HostSchedGran::cpu)
        throw err::value_not_supported("value", wire_text(params.value),
                                       "Virtual processors are scheduled one by one");
    co_return;
}

// Guests run wherever there is room. On a machine of one node that is the best effort.
Task<void> HostDomain::set_numa_affinity_policy(Call& call, HostSetNumaAffinityPolicy params) {
    call.db().transact([&](db::Txn& txn) {
        const std::string nodes = txn.get(params.self).cpu_info.get(std::string("nr_nodes"));
        if (params.value == HostNumaAffinityPolicy::best_effort && nodes != "1")
            throw err::value_not_supported("value", wire_text(params.value),
                                           "Guests are not kept on one node of this host");
        txn.edit(params.self).numa_affinity_policy = params.value;
    });
    co_return;
}

Task<void> HostDomain::send_debug_keys(Call& call, HostSendDebugKeys params) {
    (void)call.db().get(params.host);
    co_await core_.hosts->agent(params.host).host_debug_keys({params.keys});
}

Task<HostDisplay> HostDomain::enable_display(Call& call, HostEnableDisplay params) {
    co_return call.db().get(params.host).display;
}

// No guest can be given the host's graphics card, which is what it would be for.
Task<HostDisplay> HostDomain::disable_display(Call& call, HostDisableDisplay params) {
    (void)call.db().get(params.host);
    throw err::feature_restricted();
    co_return HostDisplay::enabled;
}

}  // namespace basalt::domain
