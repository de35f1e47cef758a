#pragma once
#include "base/async.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Before the VM's machine is made on that host, and never for a guest whose memory comes back:
/// brings the variables of its firmware to what the records ask for. These are the mode that
/// VM.set_uefi_mode set, newer certificates when the VM is to get them, and the pool's own
/// certificates in variables that no guest has written yet. The host is asked nothing when there is
/// nothing to put in. Loop only; repeated it changes nothing more. Throws what the host throws, and
/// INTERNAL_ERROR for variables that are none of EDK2's.
Task<void> prepare_firmware(core::Core& core, xenapi::Ref<xenapi::Vm> vm,
                            xenapi::Ref<xenapi::Host> host);

}  // namespace basalt::domain
