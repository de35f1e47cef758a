#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/meter.hpp"

/// What domains use, from Xen and from the kernel's block devices. All of this blocks: call it off
/// the loop.
namespace basalt::hv::xen {

/// Fills in what Xen counts: `vcpu_seconds`, and `memory_bytes` as far as that is no more than what
/// stands there before (pages that are not the guest's are counted too). False: there is no such
/// domain.
bool read_usage(DomainReading& reading);

/// The counters of a block device, from the text of its `stat` in sysfs; pure. Nullopt for what is
/// none.
std::optional<DiskCounters> parse_disk_counters(const std::string& text);
/// Fills in the counters of the disks that `reading` names; those that are not connected go.
void fill_disk_counters(DomainReading& reading);

}  // namespace basalt::hv::xen
