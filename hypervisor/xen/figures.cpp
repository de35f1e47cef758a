#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/meter.hpp"

namespace basalt::hv::xen {

namespace {

// What is known of a domain before Xen and the kernel are asked.
DomainReading reading_of(const Domain& domain) {
    const agent::DomainInfo known = info(domain);
    DomainReading out;
    out.uuid = known.uuid;
    out.domid = known.domid;
    out.running = domain.running;
    out.memory_bytes = domain.descriptor.config.spec.memory_bytes;
    out.memory_target_bytes = known.memory_target_bytes;
    if (domain.facts.memory_total_bytes > 0) out.memory_free_bytes = domain.facts.memory_free_bytes;
    for (const DiskAttachment& disk : domain.descriptor.config.disks)
        if (!disk.nbd_socket.empty())
            out.disks.push_back({.device = disk.spec.device,
                                 .sr = disk.spec.disk ? disk.spec.disk->sr : std::string()});
    for (const NicAttachment& nic : domain.descriptor.config.nics)
        out.nics.push_back({nic.spec.device, nic.tap});
    return out;
}

}  // namespace

Task<std::vector<DomainReading>> measure_domains(StatePtr state) {
    std::vector<DomainReading> begun;
    for (const auto& [dom, domain] : state->domains)
        if (!domain->ending) begun.push_back(reading_of(*domain));
    co_return co_await blocking(state->loop, [begun, &loop = state->loop] {
        std::vector<DomainReading> out;
        for (DomainReading one : begun) {
            one.wall_ns = loop.wall_ns();
            if (!read_usage(one)) continue;
            fill_disk_counters(one);
            out.push_back(std::move(one));
        }
        return out;
    });
}

}  // namespace basalt::hv::xen
