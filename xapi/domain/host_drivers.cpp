#include "xapi/domain/host_drivers.hpp"

#include "idl/errors.hpp"
#include "idl/records/driver_variant.hpp"
#include "idl/records/host.hpp"
#include "idl/records/host_driver.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

[[noreturn]] void refuse() {
    throw err::operation_not_allowed("The host does not have this driver in several versions");
}

}  // namespace

void drop_drivers(db::Txn& txn, Ref<Host> host) {
    (void)txn.get(host);
    txn.each<HostDriver>([&](Ref<HostDriver> ref, const HostDriver& driver) {
        if (driver.host != host) return;
        txn.each<DriverVariant>([&](Ref<DriverVariant> variant, const DriverVariant& row) {
            if (row.driver == ref) txn.erase(variant);
        });
        txn.erase(ref);
    });
}

Task<void> HostDriverDomain::rescan(Call& call, HostDriverRescan params) {
    call.db().transact([&](db::Txn& txn) { drop_drivers(txn, params.host); });
    co_return;
}

Task<void> HostDriverDomain::select(Call& call, HostDriverSelect params) {
    (void)call.db().get(params.self);
    (void)call.db().get(params.variant);
    refuse();
    co_return;
}

Task<void> HostDriverDomain::deselect(Call& call, HostDriverDeselect params) {
    (void)call.db().get(params.self);
    refuse();
    co_return;
}

Task<void> DriverVariantDomain::select(Call& call, DriverVariantSelect params) {
    (void)call.db().get(params.self);
    refuse();
    co_return;
}

}  // namespace basalt::domain
