#pragma once
#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/xen/xl.hpp"

namespace basalt::hv::xen {

/// What VM.platform and VM.bios_strings say of the machine, filled in; of keys that Xen knows.
/// Words that mean nothing leave the library's own choice. The type of `out` is set before.
void fill_platform(libxl_domain_config& out, const agent::VmSpec& spec);

}  // namespace basalt::hv::xen
