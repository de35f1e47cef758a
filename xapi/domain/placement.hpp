#pragma once
#include <optional>

#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/memory_ledger.hpp"
#include "xapi/rules/placement.hpp"

/// The rows behind rules/placement.
namespace basalt::domain {

/// Of the machine.
std::int64_t memory_total_bytes(const db::Txn& txn, xenapi::Ref<xenapi::Host> host);
/// Memory of the host that no VM has or was promised, the transaction's edits included. Looks at
/// every VM: who asks often asks a MemoryLedger.
std::int64_t memory_free_bytes(const db::Txn& txn, xenapi::Ref<xenapi::Host> host);
/// The same as committed, at the cost of what has changed.
std::int64_t memory_free_bytes(const db::Txn& txn, MemoryLedger& ledger,
                               xenapi::Ref<xenapi::Host> host);
/// What its running guests would give up, down to their dynamic minima.
std::int64_t memory_squeezable_bytes(const db::Txn& txn, xenapi::Ref<xenapi::Host> host);
rules::Demand demand_of(xenapi::Ref<xenapi::Vm> ref, const xenapi::Vm& vm);
/// `wanted` when given (throws its reason), else the best host.
xenapi::Ref<xenapi::Host> choose_host(const core::Core& core, const db::Txn& txn,
                                      MemoryLedger& ledger, xenapi::Ref<xenapi::Vm> vm,
                                      std::optional<xenapi::Ref<xenapi::Host>> wanted);
std::vector<xenapi::Ref<xenapi::Host>> possible_hosts(const core::Core& core, const db::Txn& txn,
                                                      MemoryLedger& ledger,
                                                      xenapi::Ref<xenapi::Vm> vm);

}  // namespace basalt::domain
