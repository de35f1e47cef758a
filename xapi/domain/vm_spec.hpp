#pragma once
#include "agent_values.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/db/txn.hpp"

/// From records to what hostd is told. Pure readers of one transaction.
namespace basalt::domain {

agent::VmSpec vm_spec(const db::Txn& txn, xenapi::Ref<xenapi::Vm> vm);
/// Of VCPUs_params; what is not understood is left out.
agent::CpuShares cpu_shares(const xenapi::Vm& vm);
agent::DiskSpec disk_spec(const db::Txn& txn, xenapi::Ref<xenapi::Vbd> vbd);
agent::NicSpec nic_spec(const db::Txn& txn, xenapi::Ref<xenapi::Vif> vif);
/// Of a row as it may become.
agent::NicSpec nic_spec(const db::Txn& txn, const xenapi::Vif& row);
agent::DiskRef disk_ref(const db::Txn& txn, xenapi::Ref<xenapi::Vdi> disk);

}  // namespace basalt::domain
