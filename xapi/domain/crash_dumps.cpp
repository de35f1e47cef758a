#include "xapi/domain/crash_dumps.hpp"

#include "idl/errors.hpp"
#include "idl/records/crashdump.hpp"
#include "idl/records/host_crashdump.hpp"
#include "idl/records/host_patch.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<void> CrashdumpDomain::destroy(Call& call, CrashdumpDestroy params) {
    const Ref<Vdi> disk = call.db().get(params.self).VDI;
    if (core_.db.find(disk) != nullptr) co_await storage_.destroy_disk(call, disk);
    call.db().transact_fact([&](db::Txn& txn) {
        if (txn.find(params.self) != nullptr) txn.erase(params.self);
    });
}

Task<void> HostCrashdumpDomain::destroy(Call& call, HostCrashdumpDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> HostCrashdumpDomain::upload(Call& call, HostCrashdumpUpload params) {
    (void)call.db().get(params.self);
    throw err::operation_not_allowed("The host does not keep this dump");
    co_return;
}

Task<void> HostPatchDomain::destroy(Call& call, HostPatchDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<std::string> HostPatchDomain::apply(Call& call, HostPatchApply params) {
    (void)call.db().get(params.self);
    throw err::operation_not_allowed("The host does not have this patch");
    co_return "";
}

}  // namespace basalt::domain
