#pragma once
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/xen/xl.hpp"

namespace basalt::hv::xen {

/// Throws OPERATION_NOT_ALLOWED for what guests of this backend cannot have yet: a boot by
/// firmware, disks, NICs.
void require_possible(const DomainConfig& config);

/// Fills in what libxl makes the domain from. A guest that boots a kernel is PVH: the hardware
/// virtualises it, and nothing of a PC is emulated for it.
void fill(libxl_domain_config& out, const DomainConfig& config);

}  // namespace basalt::hv::xen
