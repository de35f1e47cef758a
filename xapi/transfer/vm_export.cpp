// VMs out of here: GET /export and /export_metadata.
#include <algorithm>

#include "base/nbd.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/vdi.hpp"
#include "idl/records/vm.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/vm_archive.hpp"
#include "xapi/transfer/archive_sender.hpp"
#include "xapi/transfer/named.hpp"
#include "xapi/transfer/ova_document.hpp"
#include "xapi/transfer/uploads.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;
using xenapi::Ref;
using xenapi::VdiOperations;
using xenapi::VmOperations;

server::ResponseHead archive_head(const Call& call, const std::string& file) {
    server::ResponseHead head = early_head(call);
    head.version_10 = true;
    head.headers.emplace_back("content-disposition", "attachment; filename=\"" + file + "\"");
    return head;
}

Task<std::string> ova_of(core::Core& core, domain::VmArchive archive) {
    co_return co_await blocking(
        core.loop, [written_by = writer_of(core), objects = std::move(archive.objects)] {
            return ova_text(written_by, objects());
        });
}

void mark_disk(db::Txn& txn, core::Operation& marks, Ref<xenapi::Vdi> disk) {
    for (const auto& [task, other] : txn.get(disk).current_operations)
        if (other != VdiOperations::copy)
            throw err::other_operation_in_progress("VDI", disk, xenapi::wire_text(other), task);
    marks.mark(txn, disk, VdiOperations::copy);
}

std::set<std::string> words_of(const std::string* list) {
    std::set<std::string> out;
    for (std::size_t at = 0; list != nullptr && at <= list->size();) {
        const std::size_t end = std::min(list->find(',', at), list->size());
        if (end > at) out.insert(list->substr(at, end - at));
        at = end + 1;
    }
    return out;
}

std::vector<Ref<xenapi::Vm>> metadata_vms(Call& call, const server::HttpRequest& request) {
    if (!truth(request, "all")) return {named<xenapi::Vm>(call, request, "VM", {"ref", "uuid"})};
    const bool with_control_domains = truth(request, "include_dom0", true);
    std::vector<Ref<xenapi::Vm>> out;
    call.db().each<xenapi::Vm>([&](Ref<xenapi::Vm> ref, const xenapi::Vm& vm) {
        const bool wanted = !vm.is_default_template && !vm.is_a_snapshot;
        if (wanted && (with_control_domains || !vm.is_control_domain)) out.push_back(ref);
    });
    return out;
}

}  // namespace

Task<void> export_vm(Exchange& exchange, Call& call, Adopt adopt) {
    const server::HttpRequest& request = exchange.request();
    const auto vm = named<xenapi::Vm>(call, request, "VM", {"ref", "uuid"});
    domain::ExportWish wish{.vms = {vm}, .with_disks = true};
    wish.preserve_power_state = truth(request, "preserve_power_state");
    const Compression compression = compression_of(parameter(request, "use_compression"));
    core::Operation marks(call);
    call.db().transact([&](db::Txn& txn) {
        domain::require(txn, vm, VmOperations::export_);
        marks.mark(txn, vm, VmOperations::export_);
    });
    const domain::VmArchive archive = domain::archive_of(call.db(), wish);
    std::uint64_t total = 0;
    call.db().transact([&](db::Txn& txn) {
        for (const domain::ArchivedDisk& disk : archive.disks) {
            mark_disk(txn, marks, disk.disk);
            total += static_cast<std::uint64_t>(txn.get(disk.disk).virtual_size);
        }
    });
    const std::string ova = co_await ova_of(call.core(), archive);
    ArchiveSender out(exchange, call, compression, total);
    bool begun = false;
    const auto begin = [&]() -> Task<void> {
        if (!std::exchange(begun, true))
            co_await exchange.begin(archive_head(call, "export.xva"), true);
    };
    for (std::size_t i = 0; i < archive.disks.size(); ++i) {
        const domain::ArchivedDisk& disk = archive.disks[i];
        const xenapi::Vdi row = call.db().get(disk.disk);
        agent::Host& host = core::home_agent(call.core(), row.SR);
        // The first disk is open before the answer begins, so that its errors can still be told.
        auto server = adopt(
            co_await host.vdi_open({core::disk_ref(call.db(), disk.disk), agent::Access::ro}));
        auto client = co_await nbd::Client::open(std::move(server), "disk");
        co_await begin();
        if (i == 0) co_await out.file(std::string(ova_file), ova);
        co_await out.disk(disk.id, std::move(client), static_cast<std::uint64_t>(row.virtual_size));
    }
    co_await begin();
    if (archive.disks.empty()) co_await out.file(std::string(ova_file), ova);
    co_await out.finish();
}

Task<void> export_metadata(Exchange& exchange, Call& call) {
    const server::HttpRequest& request = exchange.request();
    domain::ExportWish wish{.vms = metadata_vms(call, request), .preserve_power_state = true};
    wish.with_snapshots = truth(request, "export_snapshots", true);
    wish.left_out = words_of(parameter(request, "excluded_device_types"));
    core::Operation marks(call);
    call.db().transact([&](db::Txn& txn) {
        for (const auto vm : wish.vms) {
            domain::require(txn, vm, VmOperations::metadata_export);
            marks.mark(txn, vm, VmOperations::metadata_export);
        }
    });
    const std::string ova = co_await ova_of(call.core(), domain::archive_of(call.db(), wish));
    ArchiveWriter writer(Compression::none);
    writer.add(std::string(ova_file), ova);
    writer.finish();
    const std::string body = writer.take();
    server::ResponseHead head = archive_head(call, "export_metadata.xva");
    head.headers.emplace_back("content-length", std::to_string(body.size()));
    co_await exchange.begin(std::move(head), true);
    co_await exchange.write(body);
}

}  // namespace basalt::transfer
