#include "xapi/domain/sr.hpp"

#include <algorithm>

#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/sm.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/blobs.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

std::map<std::string, std::string> std_map(const Map<std::string, std::string>& map) {
    return {map.begin(), map.end()};
}

void require_driver(const db::Database& db, const std::string& type) {
    bool known = false;
    db.each<Sm>([&](Ref<Sm>, const Sm& sm) { known = known || sm.type == type; });
    if (!known) throw err::sr_unknown_driver(type);
}

void erase_rows(db::Txn& txn, Ref<Sr> sr) {
    for (const auto disk : std::vector(txn.get(sr).VDIs)) {
        for (const auto vbd : std::vector(txn.get(disk).VBDs)) {
            if (txn.get(vbd).type == VbdType::cd) {
                txn.edit(vbd).VDI = {};
                txn.edit(vbd).empty = true;
            } else {
                txn.erase(vbd);
            }
        }
        txn.erase(disk);
    }
    for (const auto pbd : std::vector(txn.get(sr).PBDs))
        txn.erase(pbd);
    txn.erase(sr);
}

}  // namespace

Task<Ref<Pbd>> PbdDomain::create(Call& call, PbdCreate params) {
    Pbd row = std::move(params.args);
    row.currently_attached = false;
    co_return call.db().transact([&](db::Txn& txn) {
        for (const auto pbd : txn.get(row.SR).PBDs)
            if (txn.get(pbd).host == row.host) throw err::pbd_exists(row.SR, row.host, pbd);
        (void)txn.get(row.host);
        return txn.insert(std::move(row));
    });
}

Task<void> PbdDomain::destroy(Call& call, PbdDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).currently_attached)
            throw err::operation_not_allowed("PBD is currently plugged: " + params.self.text());
        txn.erase(params.self);
    });
    co_return;
}

Task<void> PbdDomain::attach(Ref<Pbd> pbd, agent::Host& agent, agent::Operation operation) {
    const Pbd row = core_.db.get(pbd);
    const Sr sr = core_.db.get(row.SR);
    co_await agent.sr_attach(std::move(operation), {sr.uuid, sr.type, std_map(row.device_config)});
    const db::Generation asked_at = core_.db.published();
    const agent::SrContents contents = co_await agent.sr_scan({sr.uuid});
    co_await storage_.land_contents(row.SR, contents, asked_at);
    const agent::SrInfo info = co_await storage_.with_virtual_bytes(row.SR, contents.sr);
    core_.db.transact_fact([&](db::Txn& txn) {
        txn.edit(pbd).currently_attached = true;
        storage_.land_sizes(txn, row.SR, info);
    });
}

Task<void> PbdDomain::plug(Call& call, PbdPlug params) {
    if (call.db().get(params.self).currently_attached) co_return;
    core::Operation marks(call);
    const Ref<Host> host = call.db().transact([&](db::Txn& txn) {
        const Pbd& row = txn.get(params.self);
        require(txn, row.SR, StorageOperations::plug);
        marks.mark(txn, row.SR, StorageOperations::plug);
        return row.host;
    });
    co_await call.committed();
    co_await attach(params.self, core_.hosts->agent(host), call.operation());
}

Task<void> PbdDomain::unplug(Call& call, PbdUnplug params) {
    if (!call.db().get(params.self).currently_attached) co_return;
    core::Operation marks(call);
    const auto [host, uuid] = call.db().transact([&](db::Txn& txn) {
        const Pbd& row = txn.get(params.self);
        require(txn, row.SR, StorageOperations::unplug);
        for (const auto disk : txn.get(row.SR).VDIs)
            if (view(txn, disk, txn.get(disk)).attached) throw err::vdi_in_use(disk, "unplug");
        marks.mark(txn, row.SR, StorageOperations::unplug);
        return std::pair{row.host, txn.get(row.SR).uuid};
    });
    co_await call.committed();
    co_await core_.hosts->agent(host).sr_detach(call.operation(), {uuid});
    call.db().transact_fact([&](db::Txn& txn) {
        txn.edit(params.self).currently_attached = false;
        marks.unmark(txn);
    });
}

Task<void> PbdDomain::set_device_config(Call& call, PbdSetDeviceConfig params) {
    call.db().transact([&](db::Txn& txn) {
        if (txn.get(params.self).currently_attached)
            throw err::operation_not_allowed("PBD is currently plugged: " + params.self.text());
        txn.edit(params.self).device_config = std::move(params.value);
    });
    co_return;
}

Task<Ref<Sr>> SrDomain::create(Call& call, SrCreate params) {
    require_driver(call.db(), params.type);
    if (call.db().find(params.host) == nullptr) throw err::handle_invalid("host", params.host);
    agent::Host& agent = core_.hosts->agent(params.host);
    const std::string uuid = core_.new_uuid();
    Ref<Sr> made;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        co_await call.committed();
        co_await agent.sr_create(
            call.operation(0, 0.5),
            {uuid, params.type, std_map(params.device_config), params.physical_size});
        undo.push("destroy SR",
                  [&call, &agent, uuid] { return agent.sr_destroy(call.operation(), {uuid}); });
        const Ref<Pbd> pbd = call.db().transact([&](db::Txn& txn) {
            Sr row;
            row.uuid = uuid;
            row.name_label = params.name_label;
            row.name_description = params.name_description;
            row.type = params.type;
            row.content_type = params.content_type;
            row.shared = params.shared;
            row.sm_config = params.sm_config;
            made = txn.insert(std::move(row));
            Pbd plug;
            plug.SR = made;
            plug.host = params.host;
            plug.device_config = params.device_config;
            return txn.insert(std::move(plug));
        });
        Ref<Sr> row = made;
        undo.push("forget SR", [&call, row]() -> Task<void> {
            call.db().transact([&](db::Txn& txn) { erase_rows(txn, row); });
            co_return;
        });
        co_await call.committed();
        co_await pbds_.attach(pbd, agent, call.operation(0.5, 1));
    });
    co_return made;
}

Task<Ref<Sr>> SrDomain::introduce(Call& call, SrIntroduce params) {
    require_driver(call.db(), params.type);
    if (!Uuid::parse(params.uuid)) throw err::uuid_invalid("SR", params.uuid);
    if (call.db().by_uuid<Sr>(params.uuid)) throw err::sr_uuid_exists(params.uuid);
    co_return call.db().transact([&](db::Txn& txn) {
        Sr row;
        row.uuid = params.uuid;
        row.name_label = params.name_label;
        row.name_description = params.name_description;
        row.type = params.type;
        row.content_type = params.content_type;
        row.shared = params.shared;
        row.sm_config = params.sm_config;
        return txn.insert(std::move(row));
    });
}

Task<void> SrDomain::destroy(Call& call, SrDestroy params) {
    core::Operation marks(call);
    Ref<Pbd> pbd;
    const std::string uuid = call.db().transact([&](db::Txn& txn) {
        require(txn, params.sr, StorageOperations::destroy);
        marks.mark(txn, params.sr, StorageOperations::destroy);
        pbd = txn.get(params.sr).PBDs.front();
        return txn.get(params.sr).uuid;
    });
    const Pbd plug = call.db().get(pbd);
    co_await call.committed();
    // The driver's destroy works on an attached repository: it must know where it is.
    agent::Host& agent = core_.hosts->agent(plug.host);
    co_await agent.sr_attach(call.operation(),
                             {uuid, call.db().get(params.sr).type, std_map(plug.device_config)});
    co_await agent.sr_destroy(call.operation(), {uuid});
    call.db().transact_fact([&](db::Txn& txn) {
        marks.unmark(txn);
        erase_rows(txn, params.sr);
    });
}

Task<void> SrDomain::forget(Call& call, SrForget params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.sr, StorageOperations::forget);
        erase_rows(txn, params.sr);
    });
    co_return;
}

Task<void> SrDomain::scan(Call& call, SrScan params) {
    return storage_.scan(call, params.sr);
}

Task<void> SrDomain::update(Call& call, SrUpdate params) {
    return storage_.scan(call, params.sr);
}

Task<std::string> SrDomain::probe(Call& call, SrProbe params) {
    require_driver(call.db(), params.type);
    co_return co_await core_.hosts->agent(params.host)
        .sr_probe({params.type, std_map(params.device_config), std_map(params.sm_config)});
}

Task<std::vector<std::string>> SrDomain::get_supported_types(Call& call) {
    std::vector<std::string> types;
    call.db().each<Sm>([&](Ref<Sm>, const Sm& sm) { types.push_back(sm.type); });
    std::ranges::sort(types);
    co_return types;
}

Task<void> SrDomain::set_name_label(Call& call, SrSetNameLabel params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.sr).name_label = std::move(params.value); });
    co_return;
}

Task<void> SrDomain::set_name_description(Call& call, SrSetNameDescription params) {
    call.db().transact(
        [&](db::Txn& txn) { txn.edit(params.sr).name_description = std::move(params.value); });
    co_return;
}

Task<Ref<Blob>> SrDomain::create_new_blob(Call& call, SrCreateNewBlob params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return attach_blob(txn, params.sr,
                           {std::move(params.name), std::move(params.mime_type), params.public_});
    });
}

Task<void> SrDomain::set_shared(Call& call, SrSetShared params) {
    call.db().transact([&](db::Txn& txn) {
        if (!params.value && txn.get(params.sr).PBDs.size() > 1)
            throw err::sr_has_multiple_pbds(params.sr);
        txn.edit(params.sr).shared = params.value;
    });
    co_return;
}

}  // namespace basalt::domain
