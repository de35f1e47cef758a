#include "xapi/rules/placement.hpp"

#include "idl/errors.hpp"

namespace basalt::rules {

std::optional<ApiError> why_not(const HostView& host, const Demand& demand) {
    if (!host.live) return err::host_not_live();
    if (!host.enabled || host.leaving) return err::host_disabled(host.ref);
    if (!host.missing_srs.empty()) return err::vm_requires_sr(demand.vm, host.missing_srs.front());
    if (!host.missing_networks.empty())
        return err::vm_requires_network(demand.vm, host.missing_networks.front());
    if (!host.missing_usb_group.empty())
        return err::vm_requires_vusb(demand.vm, host.missing_usb_group);
    if (!host.full_network.empty())
        return err::network_sriov_insufficient_capacity(host.full_network);
    if (host.lacks_iommu) return err::vm_requires_iommu(host.ref);
    if (host.lacks_functions)
        return err::operation_not_allowed(
            "The host's hypervisor cannot give guests functions of network cards");
    const std::int64_t obtainable = host.memory_free_bytes + host.memory_squeezable_bytes;
    if (demand.memory_bytes > obtainable)
        return err::host_not_enough_free_memory(demand.memory_bytes, obtainable);
    return std::nullopt;
}

const HostView& choose_host_or_throw(const std::vector<HostView>& hosts, const Demand& demand) {
    const HostView* best = nullptr;
    for (const HostView& host : hosts) {
        if (auto error = why_not(host, demand)) {
            if (hosts.size() == 1) throw *std::move(error);
            continue;
        }
        if (host.ref == demand.affinity) return host;
        const bool better =
            best == nullptr || host.memory_free_bytes > best->memory_free_bytes ||
            (host.memory_free_bytes == best->memory_free_bytes && host.ref < best->ref);
        if (better) best = &host;
    }
    if (best == nullptr) throw err::no_hosts_available();
    return *best;
}

}  // namespace basalt::rules
