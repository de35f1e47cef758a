#pragma once
#include "agent_values.hpp"
#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"

/// What the rows of a VM say once its domain has changed. Used where an operation lands, where
/// hostd tells something unasked, and at start of day; each works within one transaction and is
/// idempotent.
namespace basalt::domain {

/// The host's memory and the disks are no longer promised to a start or resume of the VM.
void end_promise(db::Txn& txn, xenapi::Ref<xenapi::Vm> vm);
void land_running(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Vm> vm,
                  xenapi::Ref<xenapi::Host> host, const agent::DomainInfo& domain);
void land_halted(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Vm> vm);
void land_suspended(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Vm> vm,
                    xenapi::Ref<xenapi::Vdi> image);
/// The guest's balloon has moved.
void land_memory(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Vm> vm,
                 const agent::MemoryFacts& facts);
void land_guest_facts(core::Core& core, db::Txn& txn, xenapi::Ref<xenapi::Vm> vm,
                      const agent::GuestFacts& facts);

}  // namespace basalt::domain
