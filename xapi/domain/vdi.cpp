#include "xapi/domain/vdi.hpp"

#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/domain/database_copies.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

template <class T>
void set_field(Call& call, Ref<Vdi> self, T Vdi::* field, T value) {
    call.db().transact([&](db::Txn& txn) { txn.edit(self).*field = std::move(value); });
}

}  // namespace

Task<Ref<Vdi>> VdiDomain::create(Call& call, VdiCreate params) {
    const Ref<Vdi> made = co_await storage_.create_disk(call, std::move(params.args));
    call.db().transact([&](db::Txn& txn) { call.succeed(txn, Reply::of(made)); });
    co_return made;
}

Task<void> VdiDomain::destroy(Call& call, VdiDestroy params) {
    return storage_.destroy_disk(call, params.self);
}

Task<Ref<Vdi>> VdiDomain::clone(Call& call, VdiClone params) {
    return storage_.clone_disk(call, params.vdi);
}

Task<Ref<Vdi>> VdiDomain::snapshot(Call& call, VdiSnapshot params) {
    return storage_.snapshot_disk(call, params.vdi);
}

Task<Ref<Vdi>> VdiDomain::copy(Call& call, VdiCopy params) {
    if (params.into_vdi)
        return storage_.copy_over(call, {params.vdi, params.base_vdi, params.into_vdi});
    const Ref<Sr> sr = params.sr ? params.sr : call.db().get(params.vdi).SR;
    return storage_.copy_disk(call, params.vdi, sr, params.base_vdi);
}

Task<void> VdiDomain::resize(Call& call, VdiResize params) {
    // Since 2026 the real server resizes a disk in use by the same message.
    const bool online = !storage_.live_in(params.vdi).empty();
    return storage_.resize_disk(call, params.vdi, params.size, online);
}

Task<void> VdiDomain::resize_online(Call& call, VdiResizeOnline params) {
    return storage_.resize_disk(call, params.vdi, params.size, true);
}

Task<void> VdiDomain::revert(Call& call, VdiRevert params) {
    return storage_.revert_disk(call, params.snapshot);
}

Task<void> VdiDomain::forget(Call& call, VdiForget params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.vdi, VdiOperations::forget);
        for (const auto vbd : std::vector(txn.get(params.vdi).VBDs))
            txn.erase(vbd);
        txn.erase(params.vdi);
    });
    co_return;
}

Task<void> VdiDomain::update(Call& call, VdiUpdate params) {
    const Ref<Sr> sr = call.db().get(params.vdi).SR;
    co_await storage_.scan(call, sr);
}

Task<void> VdiDomain::set_name_label(Call& call, VdiSetNameLabel params) {
    set_field(call, params.self, &Vdi::name_label, std::move(params.value));
    co_return;
}

Task<void> VdiDomain::set_name_description(Call& call, VdiSetNameDescription params) {
    set_field(call, params.self, &Vdi::name_description, std::move(params.value));
    co_return;
}

Task<void> VdiDomain::set_read_only(Call& call, VdiSetReadOnly params) {
    set_field(call, params.self, &Vdi::read_only, params.value);
    co_return;
}

Task<void> VdiDomain::set_sharable(Call& call, VdiSetSharable params) {
    set_field(call, params.self, &Vdi::sharable, params.value);
    co_return;
}

Task<void> VdiDomain::set_allow_caching(Call& call, VdiSetAllowCaching params) {
    set_field(call, params.self, &Vdi::allow_caching, params.value);
    co_return;
}

Task<void> VdiDomain::set_is_a_snapshot(Call& call, VdiSetIsASnapshot params) {
    set_field(call, params.self, &Vdi::is_a_snapshot, params.value);
    co_return;
}

Task<void> VdiDomain::set_managed(Call& call, VdiSetManaged params) {
    set_field(call, params.self, &Vdi::managed, params.value);
    co_return;
}

Task<void> VdiDomain::set_metadata_of_pool(Call& call, VdiSetMetadataOfPool params) {
    set_field(call, params.self, &Vdi::metadata_of_pool, params.value);
    co_return;
}

Task<void> VdiDomain::set_missing(Call& call, VdiSetMissing params) {
    set_field(call, params.self, &Vdi::missing, params.value);
    co_return;
}

Task<void> VdiDomain::set_physical_utilisation(Call& call, VdiSetPhysicalUtilisation params) {
    set_field(call, params.self, &Vdi::physical_utilisation, params.value);
    co_return;
}

Task<void> VdiDomain::set_snapshot_of(Call& call, VdiSetSnapshotOf params) {
    set_field(call, params.self, &Vdi::snapshot_of, params.value);
    co_return;
}

Task<void> VdiDomain::set_snapshot_time(Call& call, VdiSetSnapshotTime params) {
    set_field(call, params.self, &Vdi::snapshot_time, params.value);
    co_return;
}

Task<void> VdiDomain::set_virtual_size(Call& call, VdiSetVirtualSize params) {
    set_field(call, params.self, &Vdi::virtual_size, params.value);
    co_return;
}

Task<void> VdiDomain::set_on_boot(Call& call, VdiSetOnBoot params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VdiOperations::set_on_boot);
        txn.edit(params.self).on_boot = params.value;
    });
    co_return;
}

Task<Ref<Session>> VdiDomain::open_database(Call& call, VdiOpenDatabase params) {
    return copies_.open(call, params.self);
}

Task<std::string> VdiDomain::read_database_pool_uuid(Call& call, VdiReadDatabasePoolUuid params) {
    return copies_.pool_uuid(call, params.self);
}

}  // namespace basalt::domain
