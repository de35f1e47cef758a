// Local copies of disks that lie on shared storage: which repository of a host keeps them.
#include <algorithm>
#include <optional>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sm.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vm.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr const char* ability = "SR_SUPPORTS_LOCAL_CACHING";

/// What guests have open cannot be moved to another cache.
void require_idle(const db::Txn& txn, Ref<Host> host) {
    if (txn.get(host).enabled) throw err::host_not_disabled();
    txn.each<Vm>([&](Ref<Vm> ref, const Vm& vm) {
        if (vm.resident_on == host && !vm.is_control_domain)
            throw err::host_in_use(host, "VM", ref);
    });
}

bool can_cache(const db::Txn& txn, Ref<Host> host, Ref<Sr> sr) {
    const Sr& row = txn.get(sr);
    if (row.shared || row.PBDs.size() != 1 || txn.get(row.PBDs.front()).host != host) return false;
    bool able = false;
    txn.each<Sm>([&](Ref<Sm>, const Sm& driver) {
        able = able || (driver.type == row.type && driver.features.contains(std::string(ability)));
    });
    return able;
}

void use_cache(db::Txn& txn, Ref<Host> host, Ref<Sr> sr) {
    const Ref<Sr> before = txn.get(host).local_cache_sr;
    if (txn.find(before) != nullptr) txn.edit(before).local_cache_enabled = false;
    txn.edit(host).local_cache_sr = sr;
    if (sr) txn.edit(sr).local_cache_enabled = true;
}

std::optional<Ref<Sr>> cache_for(const db::Txn& txn, Ref<Host> host) {
    std::optional<Ref<Sr>> found;
    txn.each<Sr>([&](Ref<Sr> sr, const Sr&) {
        if (!found && can_cache(txn, host, sr)) found = sr;
    });
    return found;
}

std::vector<err::ErrorParam> texts_of(const std::vector<Ref<Host>>& hosts) {
    return std::vector<err::ErrorParam>(hosts.begin(), hosts.end());
}

}  // namespace

Task<void> HostDomain::enable_local_storage_caching(Call& call,
                                                    HostEnableLocalStorageCaching params) {
    call.db().transact([&](db::Txn& txn) {
        require_idle(txn, params.host);
        if (!can_cache(txn, params.host, params.sr))
            throw err::sr_operation_not_supported(params.sr);
        use_cache(txn, params.host, params.sr);
    });
    co_return;
}

Task<void> HostDomain::disable_local_storage_caching(Call& call,
                                                     HostDisableLocalStorageCaching params) {
    call.db().transact([&](db::Txn& txn) {
        require_idle(txn, params.host);
        use_cache(txn, params.host, {});
    });
    co_return;
}

Task<void> PoolDomain::enable_local_storage_caching(Call& call,
                                                    PoolEnableLocalStorageCaching params) {
    (void)call.db().get(params.self);
    const auto failed = co_await on_each([&](Ref<Host> host) -> Task<void> {
        const auto sr = call.db().transact([&](db::Txn& txn) { return cache_for(txn, host); });
        if (!sr) throw err::sr_operation_not_supported(Ref<Sr>{});
        co_await hosts_.enable_local_storage_caching(call, {host, *sr});
    });
    if (!failed.empty()) throw err::hosts_failed_to_enable_caching(texts_of(failed));
}

Task<void> PoolDomain::disable_local_storage_caching(Call& call,
                                                     PoolDisableLocalStorageCaching params) {
    (void)call.db().get(params.self);
    const auto failed = co_await on_each(
        [&](Ref<Host> host) { return hosts_.disable_local_storage_caching(call, {host}); });
    if (!failed.empty()) throw err::hosts_failed_to_disable_caching(texts_of(failed));
}

}  // namespace basalt::domain
