#include "xapi/domain/placement.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "idl/records/host_metrics.hpp"
#include "idl/records/network.hpp"
#include "idl/records/network_sriov.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/balloons.hpp"
#include "xapi/domain/sriov.hpp"
#include "xapi/domain/usb.hpp"
#include "xapi/domain/vm_rules.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

bool has_plugged(const db::Txn& txn, const Sr& sr, Ref<Host> host) {
    return std::ranges::any_of(sr.PBDs, [&](Ref<Pbd> pbd) {
        const Pbd* row = txn.find(pbd);
        return row != nullptr && row->host == host && row->currently_attached;
    });
}

// A network without any PIF is internal: every host can have it.
bool reaches(const db::Txn& txn, const Network& network, Ref<Host> host) {
    return network.PIFs.empty() || std::ranges::any_of(network.PIFs, [&](Ref<Pif> pif) {
               const Pif* row = txn.find(pif);
               return row != nullptr && row->host == host;
           });
}

std::vector<std::string> missing_srs(const db::Txn& txn, const Vm& vm, Ref<Host> host) {
    std::vector<std::string> missing;
    for (const auto vbd : vm.VBDs) {
        const Vbd* row = txn.find(vbd);
        const Vdi* disk = row != nullptr ? txn.find(row->VDI) : nullptr;
        const Sr* sr = disk != nullptr ? txn.find(disk->SR) : nullptr;
        if (sr != nullptr && !has_plugged(txn, *sr, host)) missing.push_back(disk->SR.text());
    }
    return missing;
}

std::vector<std::string> missing_networks(const db::Txn& txn, const Vm& vm, Ref<Host> host) {
    std::vector<std::string> missing;
    for (const auto vif : vm.VIFs) {
        const Vif* row = txn.find(vif);
        const Network* network = row != nullptr ? txn.find(row->network) : nullptr;
        if (network != nullptr && !reaches(txn, *network, host))
            missing.push_back(row->network.text());
    }
    return missing;
}

// Functions of the host's cards that the VM's interfaces need. No hypervisor here gives guests such
// yet, so that a host which has all else says so itself.
void look_at_functions(const db::Txn& txn, const Vm& vm, Ref<Host> host, rules::HostView& out) {
    std::map<Ref<Network>, std::int64_t> needed;
    for (const auto ref : vm.VIFs) {
        const Vif* vif = txn.find(ref);
        const Network* network = vif != nullptr ? txn.find(vif->network) : nullptr;
        if (network != nullptr && is_sriov_network(txn, *network)) ++needed[vif->network];
    }
    if (needed.empty()) return;
    for (const auto& [network, count] : needed)
        for (const Ref<Pif> pif : txn.get(network).PIFs)
            if (const NetworkSriov* sriov = txn.find(sriov_of_logical(txn, pif));
                sriov != nullptr && txn.get(pif).host == host &&
                remaining_capacity(txn, *sriov) < count)
                out.full_network = network.text();
    out.lacks_iommu = txn.get(host).chipset_info.get(std::string("iommu")) != "true";
    out.lacks_functions = true;
}

}  // namespace

std::int64_t memory_total_bytes(const db::Txn& txn, Ref<Host> host) {
    const HostMetrics* metrics = txn.find(txn.get(host).metrics);
    return metrics != nullptr ? metrics->memory_total : 0;
}

std::int64_t memory_free_bytes(const db::Txn& txn, Ref<Host> host) {
    std::int64_t free = memory_total_bytes(txn, host);
    txn.each<Vm>([&](Ref<Vm>, const Vm& vm) {
        const bool on = vm.resident_on == host || vm.scheduled_to_be_resident_on == host;
        if (on) free -= memory_held_bytes(vm, txn.find(vm.metrics)) + vm.memory_overhead;
    });
    return std::max<std::int64_t>(free, 0);
}

std::int64_t memory_free_bytes(const db::Txn& txn, MemoryLedger& ledger, Ref<Host> host) {
    return std::max<std::int64_t>(0, memory_total_bytes(txn, host) - ledger.of(host).held);
}

std::int64_t memory_squeezable_bytes(const db::Txn& txn, Ref<Host> host) {
    std::int64_t more = 0;
    for (const Ref<Vm> ref : txn.get(host).resident_VMs) {
        const Vm& vm = txn.get(ref);
        if (can_balloon(txn, vm) && is_cooperative(txn, vm))
            more += std::max<std::int64_t>(
                0, memory_held_bytes(vm, txn.find(vm.metrics)) - vm.memory_dynamic_min);
    }
    return more;
}

rules::Demand demand_of(Ref<Vm> ref, const Vm& vm) {
    // One that sleeps wakes with what it had.
    const bool sleeps = vm.power_state == VmPowerState::suspended;
    const std::int64_t had = vm.memory_target > 0 ? vm.memory_target : vm.memory_dynamic_max;
    return {.vm = ref.text(),
            .memory_bytes = (sleeps ? had : vm.memory_dynamic_min) + memory_overhead_bytes(vm),
            .affinity = vm.affinity ? vm.affinity.text() : std::string()};
}

namespace {

// What places VMs are looked for by.
struct Search {
    const core::Core& core;
    const db::Txn& txn;
    MemoryLedger& ledger;
    const Vm& vm;
    rules::Demand demand;
};

rules::HostView view(const Search& search, Ref<Host> host) {
    const auto& [core, txn, ledger, vm, demand] = search;
    const Host& row = txn.get(host);
    rules::HostView out{
        .ref = host.text(), .enabled = row.enabled, .live = core.hosts->connected(host)};
    for (const auto& [task, op] : row.current_operations) {
        using enum HostAllowedOperations;
        out.leaving |= op == evacuate || op == reboot || op == shutdown;
    }
    out.memory_free_bytes = memory_free_bytes(txn, ledger, host);
    if (out.memory_free_bytes < demand.memory_bytes)
        out.memory_squeezable_bytes = memory_squeezable_bytes(txn, host);
    out.pcpus = static_cast<std::int64_t>(row.host_CPUs.size());
    out.missing_srs = missing_srs(txn, vm, host);
    out.missing_networks = missing_networks(txn, vm, host);
    if (const auto group = missing_usb_group(txn, vm, host)) out.missing_usb_group = group->text();
    look_at_functions(txn, vm, host, out);
    return out;
}

}  // namespace

Ref<Host> choose_host(const core::Core& core, const db::Txn& txn, MemoryLedger& ledger, Ref<Vm> vm,
                      std::optional<Ref<Host>> wanted) {
    const Vm& row = txn.get(vm);
    const Search search{core, txn, ledger, row, demand_of(vm, row)};
    if (wanted) {
        if (auto error = rules::why_not(view(search, *wanted), search.demand))
            throw *std::move(error);
        return *wanted;
    }
    std::vector<rules::HostView> views;
    std::vector<Ref<Host>> refs;
    txn.each<Host>([&](Ref<Host> host, const Host&) {
        views.push_back(view(search, host));
        refs.push_back(host);
    });
    const rules::HostView& chosen = rules::choose_host_or_throw(views, search.demand);
    return refs[static_cast<std::size_t>(&chosen - views.data())];
}

std::vector<Ref<Host>> possible_hosts(const core::Core& core, const db::Txn& txn,
                                      MemoryLedger& ledger, Ref<Vm> vm) {
    const Vm& row = txn.get(vm);
    const Search search{core, txn, ledger, row, demand_of(vm, row)};
    std::vector<Ref<Host>> possible;
    txn.each<Host>([&](Ref<Host> host, const Host&) {
        if (!rules::why_not(view(search, host), search.demand)) possible.push_back(host);
    });
    return possible;
}

}  // namespace basalt::domain
