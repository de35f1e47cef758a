#include "xapi/core/homes.hpp"

#include "idl/errors.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/hosts.hpp"

namespace basalt::core {

xenapi::Ref<xenapi::Host> home_of(const Core& core, xenapi::Ref<xenapi::Sr> sr) {
    xenapi::Ref<xenapi::Host> any;
    for (const auto pbd : core.db.get(sr).PBDs) {
        const xenapi::Pbd* row = core.db.find(pbd);
        if (row == nullptr || !row->currently_attached) continue;
        if (row->host == core.this_host) return row->host;
        if (!any && core.hosts->connected(row->host)) any = row->host;
    }
    if (!any) throw err::sr_has_no_pbds(sr);
    return any;
}

agent::Host& home_agent(const Core& core, xenapi::Ref<xenapi::Sr> sr) {
    return core.hosts->agent(home_of(core, sr));
}

agent::DiskRef disk_ref(const db::Database& db, xenapi::Ref<xenapi::Vdi> disk) {
    const xenapi::Vdi& row = db.get(disk);
    return {.sr = db.get(row.SR).uuid, .vdi = row.uuid, .location = row.location};
}

}  // namespace basalt::core
