// Class VDI: rows that come and go without their files, and what few ask of a disk.
#include <algorithm>

#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vdi.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// The three messages that enter a disk have the same parameters, but for one.
template <class Params>
Vdi row_of(const Params& params) {
    Vdi row;
    row.uuid = params.uuid;
    row.name_label = params.name_label;
    row.name_description = params.name_description;
    row.SR = params.SR;
    row.type = params.type;
    row.sharable = params.sharable;
    row.read_only = params.read_only;
    row.other_config = params.other_config;
    row.location = params.location;
    row.xenstore_data = params.xenstore_data;
    row.sm_config = params.sm_config;
    row.managed = params.managed;
    row.virtual_size = params.virtual_size;
    row.physical_utilisation = params.physical_utilisation;
    row.metadata_of_pool = params.metadata_of_pool;
    row.is_a_snapshot = params.is_a_snapshot;
    row.snapshot_time = params.snapshot_time;
    row.snapshot_of = params.snapshot_of;
    if constexpr (requires { params.cbt_enabled; }) row.cbt_enabled = params.cbt_enabled;
    return row;
}

void require_new(const db::Txn& txn, const Vdi& row) {
    for (const auto disk : txn.get(row.SR).VDIs) {
        const Vdi& other = txn.get(disk);
        if (other.location == row.location) throw err::location_not_unique(row.SR, row.location);
    }
}

Ref<Vdi> entered(Call& call, Vdi row) {
    if (!row.uuid.empty() && !Uuid::parse(row.uuid)) throw err::uuid_invalid("VDI", row.uuid);
    if (!row.uuid.empty() && call.db().by_uuid<Vdi>(row.uuid))
        throw err::invalid_value("uuid", row.uuid + " is another disk's");
    return call.db().transact([&](db::Txn& txn) {
        require_new(txn, row);
        return txn.insert(std::move(row));
    });
}

const agent::VdiInfo& found_at(Ref<Sr> sr, const agent::SrContents& contents,
                               const std::string& location) {
    const auto at = std::ranges::find_if(contents.vdis, [&](const agent::VdiInfo& info) {
        return !info.hidden && info.location == location;
    });
    if (at == contents.vdis.end()) throw err::vdi_location_missing(sr, location);
    return *at;
}

}  // namespace

// What is known of the disk's contents is what the driver found there, whatever the caller says.
Task<Ref<Vdi>> VdiDomain::introduce(Call& call, VdiIntroduce params) {
    core::Operation operation(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.SR, StorageOperations::vdi_introduce);
        operation.mark(txn, params.SR, StorageOperations::vdi_introduce);
    });
    Vdi row = row_of(params);
    call.db().transact([&](db::Txn& txn) { require_new(txn, row); });
    const agent::SrContents contents =
        co_await storage_.home_agent(row.SR).sr_scan({call.db().get(row.SR).uuid});
    const agent::VdiInfo& info = found_at(row.SR, contents, row.location);
    // Its driver knows it by this one.
    if (!row.uuid.empty() && row.uuid != info.uuid)
        throw err::invalid_value("uuid", "the disk at this location is " + info.uuid);
    row.uuid = info.uuid;
    row.managed = true;
    row.virtual_size = info.size_bytes;
    row.physical_utilisation = info.used_bytes;
    row.read_only = row.read_only || info.read_only;
    for (const auto& [key, value] : info.sm_config)
        row.sm_config.insert_or_assign(key, value);
    if (!info.parent.empty()) row.sm_config.insert_or_assign("vhd-parent", info.parent);
    const Ref<Vdi> made = entered(call, std::move(row));
    call.db().transact([&](db::Txn& txn) { operation.unmark(txn); });
    co_return made;
}

Task<Ref<Vdi>> VdiDomain::pool_introduce(Call& call, VdiPoolIntroduce params) {
    co_return entered(call, row_of(params));
}

Task<Ref<Vdi>> VdiDomain::db_introduce(Call& call, VdiDbIntroduce params) {
    co_return entered(call, row_of(params));
}

Task<void> VdiDomain::db_forget(Call& call, VdiDbForget params) {
    call.db().transact([&](db::Txn& txn) {
        (void)txn.get(params.vdi);
        Storage::erase_disk(txn, params.vdi);
    });
    co_return;
}

Task<void> VdiDomain::force_unlock(Call& call, VdiForceUnlock params) {
    (void)call.db().get(params.vdi);
    throw err::message_deprecated();
    co_return;
}

// None of our drivers can be attached before the server runs, which is what the text is for.
Task<std::string> VdiDomain::generate_config(Call& call, VdiGenerateConfig params) {
    const Ref<Sr> sr = call.db().transact([&](db::Txn& txn) {
        require(txn, params.vdi, VdiOperations::generate_config);
        return txn.get(params.vdi).SR;
    });
    throw err::sr_operation_not_supported(sr);
    co_return std::string();
}

Task<std::string> VdiDomain::checksum(Call& call, VdiChecksum params) {
    return storage_.checksum(call, params.self);
}

}  // namespace basalt::domain
