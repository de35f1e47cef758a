// Class VDI: which blocks changed between two disks. Images of a chain tell it themselves, so that
// nothing is recorded beside them: docs/decisions/0015.
#include <algorithm>

#include "base/encoding.hpp"
#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vdi.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// What a bit stands for.
constexpr std::int64_t block_bytes = 65536;
/// What a host tells in one answer.
constexpr std::int64_t window_bytes = std::int64_t{64} << 30;

unsigned char digit(char c) {
    return static_cast<unsigned char>(c <= '9' ? c - '0' : c - 'a' + 10);
}

void append_bytes(std::string& out, const std::string& hex) {
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        out += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
}

void require_recorded(const db::Txn& txn, Ref<Vdi> disk) {
    if (!txn.get(disk).cbt_enabled) throw err::vdi_no_cbt_metadata(disk);
    require(txn, disk, VdiOperations::list_changed_blocks);
}

}  // namespace

Task<void> VdiDomain::enable_cbt(Call& call, VdiEnableCbt params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VdiOperations::enable_cbt);
        txn.edit(params.self).cbt_enabled = true;
    });
    co_return;
}

Task<void> VdiDomain::disable_cbt(Call& call, VdiDisableCbt params) {
    call.db().transact([&](db::Txn& txn) {
        require(txn, params.self, VdiOperations::disable_cbt);
        txn.edit(params.self).cbt_enabled = false;
    });
    co_return;
}

Task<void> VdiDomain::set_cbt_enabled(Call& call, VdiSetCbtEnabled params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).cbt_enabled = params.value; });
    co_return;
}

/// The snapshot is closed for good; its images stay for as long as others need to be compared with
/// them.
Task<void> VdiDomain::data_destroy(Call& call, VdiDataDestroy params) {
    call.db().transact([&](db::Txn& txn) {
        const Vdi& row = txn.get(params.self);
        if (row.type == VdiType::cbt_metadata) return;
        if (!row.is_a_snapshot)
            throw err::operation_not_allowed("VDI is not a snapshot: " + params.self.text());
        require(txn, params.self, VdiOperations::data_destroy);
        if (view(txn, params.self, row).attached)
            throw err::vdi_in_use(params.self, wire_text(VdiOperations::data_destroy));
        txn.edit(params.self).type = VdiType::cbt_metadata;
    });
    co_return;
}

Task<std::string> VdiDomain::list_changed_blocks(Call& call, VdiListChangedBlocks params) {
    core::Operation operation(call);
    const Vdi to = call.db().transact([&](db::Txn& txn) {
        require_recorded(txn, params.vdi_from);
        require_recorded(txn, params.vdi_to);
        if (txn.get(params.vdi_from).SR != txn.get(params.vdi_to).SR)
            throw err::sr_operation_not_supported(txn.get(params.vdi_from).SR);
        operation.mark(txn, params.vdi_from, VdiOperations::list_changed_blocks);
        if (params.vdi_to != params.vdi_from)
            operation.mark(txn, params.vdi_to, VdiOperations::list_changed_blocks);
        return txn.get(params.vdi_to);
    });
    std::string bits;
    for (std::int64_t offset = 0; offset < to.virtual_size; offset += window_bytes) {
        const std::int64_t length = std::min(window_bytes, to.virtual_size - offset);
        append_bytes(bits, co_await storage_.home_agent(to.SR).vdi_changes(
                               {.disk = storage_.disk_ref(params.vdi_to),
                                .base = storage_.disk_ref(params.vdi_from),
                                .offset = offset,
                                .length = length}));
        call.progress(static_cast<double>(offset + length) / static_cast<double>(to.virtual_size));
    }
    static_assert(window_bytes / block_bytes % 8 == 0, "windows join at whole bytes");
    co_return base64(bits);
}

}  // namespace basalt::domain
