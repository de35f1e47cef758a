#include "xapi/domain/recovery.hpp"

#include <algorithm>

#include "base/undo.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/session.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/vm_archive.hpp"
#include "xapi/domain/vm_import.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// Who may do this may bring a VM back: it is the same as making one of a file.
constexpr const char* needed_permission = "vm.create";

std::vector<Ref<Sr>> repositories_of(const db::Database& db, Ref<Vm> vm) {
    std::vector<Ref<Sr>> out;
    for (const auto vbd : db.get(vm).VBDs) {
        const Vbd* drive = db.find(vbd);
        const bool holds = drive != nullptr && drive->type != VbdType::cd;
        const Vdi* disk = holds ? db.find(drive->VDI) : nullptr;
        if (disk != nullptr && std::ranges::find(out, disk->SR) == out.end())
            out.push_back(disk->SR);
    }
    return out;
}

bool is_reached(const db::Database& db, const std::string& uuid) {
    const auto sr = db.by_uuid<Sr>(uuid);
    return sr && std::ranges::any_of(db.get(*sr).PBDs, [&](Ref<Pbd> ref) {
               const Pbd* pbd = db.find(ref);
               return pbd != nullptr && pbd->currently_attached;
           });
}

}  // namespace

const db::Database& Recovery::source(const Call& call) const {
    return call.caller().file ? *call.caller().file : core_.db;
}

void Recovery::require_allowed(const Call& call, Ref<Session> session_to) const {
    const Session* row = core_.db.find(session_to);
    const bool of_file =
        std::ranges::contains(core_.file_sessions, session_to, &core::Core::FileSession::session);
    if (row == nullptr || of_file) throw err::session_invalid(session_to);
    const bool may = row->is_local_superuser || row->pool ||
                     std::ranges::contains(row->rbac_permissions, needed_permission);
    if (!may)
        throw err::rbac_permission_denied(call.message().wire_name,
                                          "No permission in the session that is recovered to");
}

std::vector<Ref<Sr>> Recovery::missing(const Call& call, Ref<Vm> vm,
                                       Ref<Session> session_to) const {
    if (core_.db.find(session_to) == nullptr) throw err::session_invalid(session_to);
    const db::Database& from = source(call);
    std::vector<Ref<Sr>> out = repositories_of(from, vm);
    std::erase_if(out, [&](Ref<Sr> sr) {
        const Sr* row = from.find(sr);
        return row != nullptr && is_reached(core_.db, row->uuid);
    });
    return out;
}

void Recovery::require_reached(const Call& call, Ref<Vm> vm, Ref<Session> session_to) const {
    const std::vector<Ref<Sr>> absent = missing(call, vm, session_to);
    if (!absent.empty()) throw err::vm_requires_sr(vm, absent.front());
}

Task<Recovery::Vms> Recovery::recover(Call& call, Vms vms, Ref<Session> session_to, bool force) {
    require_allowed(call, session_to);
    ExportWish wish;
    wish.vms = std::move(vms);
    wish.with_snapshots = true;
    const VmArchive archive = archive_of(source(call), wish);
    std::vector<ArchivedObject> objects =
        co_await blocking(core_.loop, [&archive] { return archive.objects(); });
    call.db().transact([&](db::Txn& txn) { call.task(txn); });
    VmImport import(call, storage_, networks_,
                    {.restore = true, .force = force, .with_disks = false});
    Vms made;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("take the recovery back", [&import] { return import.undo(); });
        import.plan(std::move(objects));
        co_await import.make();
        co_await call.committed();
        made = import.keep();
    });
    co_return made;
}

}  // namespace basalt::domain
