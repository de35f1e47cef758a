// Whether the bytes of blobs are kept. They lie with the coordinator, so of a member only the mark
// changes; it counts once the member leads.
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/blob.hpp"
#include "idl/records/host.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<void> HostDomain::enable_binary_storage(Call& call, HostEnableBinaryStorage params) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(params.host).other_config.erase(std::string(core::no_local_storage));
    });
    co_return;
}

Task<void> HostDomain::disable_binary_storage(Call& call, HostDisableBinaryStorage params) {
    call.db().transact([&](db::Txn& txn) {
        txn.edit(params.host).other_config.insert_or_assign(core::no_local_storage, "true");
        if (params.host != core_.this_host) return;
        txn.each<Blob>([&](Ref<Blob> blob, const Blob& row) {
            if (row.size > 0) txn.edit(blob).size = 0;
        });
    });
    if (params.host != core_.this_host) co_return;
    // The rows first: what a kill leaves of the bytes goes at the next start.
    co_await call.committed();
    co_await blocking(core_.loop, [&all = core_] { core::remove_blob_files(all); });
}

Task<void> PoolDomain::enable_binary_storage(Call& call) {
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.enable_binary_storage(call, {host});
}

Task<void> PoolDomain::disable_binary_storage(Call& call) {
    for (const Ref<Host> host : all_hosts())
        co_await hosts_.disable_binary_storage(call, {host});
}

}  // namespace basalt::domain
