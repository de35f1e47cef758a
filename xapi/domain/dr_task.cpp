#include "xapi/domain/dr_task.hpp"

#include <algorithm>
#include <pugixml.hpp>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/dr_task.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/sm.hpp"
#include "idl/records/sr.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/database_disk.hpp"
#include "xapi/domain/sr.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// Throws unless there is such a driver, and what it keeps says which disk has a database.
void require_able(const db::Database& db, const std::string& type) {
    bool known = false;
    bool able = false;
    db.each<Sm>([&](Ref<Sm>, const Sm& driver) {
        if (driver.type != type) return;
        known = true;
        able = able || driver.features.contains(metadata_ability);
    });
    if (!known) throw err::sr_unknown_driver(type);
    if (!able)
        throw err::operation_not_allowed("Disaster recovery not supported on SRs of type " + type);
}

}  // namespace

Task<std::vector<DrTaskDomain::Found>> DrTaskDomain::probe(Call& call, const DrTaskCreate& params) {
    SrProbe wanted;
    wanted.host = core_.this_host;
    wanted.type = params.type;
    wanted.device_config = params.device_config;
    wanted.sm_config.insert_or_assign("metadata", "true");
    const std::string xml = co_await srs_.probe(call, std::move(wanted));
    pugi::xml_document document;
    const bool parsed = document.load_string(xml.c_str());
    if (!parsed || !document.child("SRlist"))
        throw err::internal_error("SR probe response was malformed: Missing <SRlist> element");
    std::vector<Found> out;
    for (const pugi::xml_node sr : document.child("SRlist").children("SR")) {
        Found found{sr.child_value("UUID"), sr.child_value("name_label"),
                    sr.child_value("name_description")};
        if (std::ranges::contains(params.whitelist, found.uuid)) out.push_back(std::move(found));
    }
    co_return out;
}

Task<Ref<DrTask>> DrTaskDomain::create(Call& call, DrTaskCreate params) {
    require_able(call.db(), params.type);
    const std::vector<Found> found = co_await probe(call, params);
    Ref<DrTask> made;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        std::vector<Ref<Sr>> brought;
        for (const Found& one : found) {
            // Whoever has brought it in already, an administrator or another recovery, keeps it.
            if (call.db().by_uuid<Sr>(one.uuid)) continue;
            brought.push_back(
                co_await bring_in(call, one, params.type, params.device_config, undo));
        }
        made = call.db().transact([&](db::Txn& txn) {
            const Ref<DrTask> task = txn.insert(DrTask{});
            for (const Ref<Sr> sr : brought)
                txn.edit(sr).introduced_by = task;
            return task;
        });
    });
    co_return made;
}

Task<Ref<Sr>> DrTaskDomain::bring_in(Call& call, Found found, std::string type,
                                     const DeviceConfig& config, Undo& undo) {
    SrIntroduce introduced;
    introduced.uuid = found.uuid;
    introduced.name_label = found.name;
    introduced.name_description = found.description;
    introduced.type = std::move(type);
    introduced.shared = true;
    const Ref<Sr> sr = co_await srs_.introduce(call, std::move(introduced));
    undo.push("take the repository out", [this, &call, sr] { return take_out(call, sr); });
    std::vector<Ref<Host>> hosts;
    call.db().each<Host>([&](Ref<Host> host, const Host&) {
        if (core_.hosts->connected(host)) hosts.push_back(host);
    });
    for (const Ref<Host> host : hosts) {
        PbdCreate plug;
        plug.args.host = host;
        plug.args.SR = sr;
        plug.args.device_config = config;
        const Ref<Pbd> pbd = co_await pbds_.create(call, std::move(plug));
        co_await pbds_.plug(call, {pbd});
    }
    co_return sr;
}

Task<void> DrTaskDomain::take_out(Call& call, Ref<Sr> sr) {
    if (call.db().find(sr) == nullptr) co_return;
    for (const Ref<Pbd> pbd : std::vector(call.db().get(sr).PBDs))
        co_await pbds_.unplug(call, {pbd});
    co_await srs_.forget(call, {sr});
}

// VMs that were recovered and still have a disk there hold it up: VDI_IN_USE.
Task<void> DrTaskDomain::destroy(Call& call, DrTaskDestroy params) {
    for (const Ref<Sr> sr : std::vector(call.db().get(params.self).introduced_SRs))
        co_await take_out(call, sr);
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
}

}  // namespace basalt::domain
