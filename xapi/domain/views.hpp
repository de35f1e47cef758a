#pragma once
#include "idl/records/host.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vif.hpp"
#include "idl/records/vm.hpp"
#include "xapi/db/txn.hpp"
#include "xapi/rules/device_ops.hpp"
#include "xapi/rules/storage_ops.hpp"
#include "xapi/rules/vm_ops.hpp"

/// What the rules need to know, read from the rows of a transaction.
namespace basalt::domain {

rules::VmView view(const db::Txn& txn, xenapi::Ref<xenapi::Vm> ref, const xenapi::Vm& vm);
rules::VbdView view(const db::Txn& txn, xenapi::Ref<xenapi::Vbd> ref, const xenapi::Vbd& vbd);
rules::VifView view(const db::Txn& txn, xenapi::Ref<xenapi::Vif> ref, const xenapi::Vif& vif);
rules::VdiView view(const db::Txn& txn, xenapi::Ref<xenapi::Vdi> ref, const xenapi::Vdi& vdi);
rules::SrView view(const db::Txn& txn, xenapi::Ref<xenapi::Sr> ref, const xenapi::Sr& sr);

/// Throws the reason why `op` may not start on `ref` now; HANDLE_INVALID when it is gone.
template <class R, class Op>
void require(const db::Txn& txn, xenapi::Ref<R> ref, Op op) {
    if (auto error = rules::why_not(view(txn, ref, txn.get(ref)), op)) throw *std::move(error);
}

}  // namespace basalt::domain
