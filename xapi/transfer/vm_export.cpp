// VMs out of here: GET /export and /export_metadata.
#include <algorithm>
#include <format>

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
#include "xapi/transfer/archive_writer.hpp"
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

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
static_assert(chunk_bytes <= nbd::request_bytes_max);
/// Clients and proxies take a connection that is silent for long for a dead one.
constexpr Duration silence_max = 5s;

/// One archive on its way out.
class Export {
  public:
    Export(Exchange& exchange, Call& call, Compression compression, std::uint64_t total_bytes)
        : exchange_(exchange),
          call_(call),
          loop_(call.core().loop),
          writer_(std::make_shared<ArchiveWriter>(compression)),
          total_bytes_(std::max<std::uint64_t>(total_bytes, 1)),
          last_output_(loop_.now()) {}

    Task<void> file(std::string name, std::string content) {
        co_await send(co_await blocking(
            loop_, [writer = writer_, name = std::move(name), content = std::move(content)] {
                writer->add(name, content);
                return writer->take();
            }));
    }

    Task<void> disk(std::string id, std::unique_ptr<nbd::Client> from, std::uint64_t size_bytes);

    Task<void> finish() {
        co_await send(co_await blocking(loop_, [writer = writer_] {
            writer->finish();
            return writer->take();
        }));
    }

  private:
    struct Chunk {
        std::string name;
        std::string content;
        bool needed = false;  // also when it is all zeros
    };

    Task<void> send(std::string bytes);
    Task<void> put(std::shared_ptr<Chunk> chunk);

    static Task<void> read(nbd::Client& from, std::uint64_t at, std::string& into) {
        return from.read(at, into);
    }

    Exchange& exchange_;
    Call& call_;
    Loop& loop_;
    std::shared_ptr<ArchiveWriter> writer_;
    std::uint64_t total_bytes_;
    std::uint64_t done_bytes_ = 0;
    Time last_output_;
};

Task<void> Export::send(std::string bytes) {
    if (bytes.empty()) co_return;
    throw_if_cancelled(call_);
    co_await exchange_.write(bytes);
    last_output_ = loop_.now();
}

Task<void> Export::put(std::shared_ptr<Chunk> chunk) {
    co_await send(co_await blocking(loop_, [writer = writer_, chunk]() -> std::string {
        if (!chunk->needed && is_zero(chunk->content)) return {};
        writer->add_chunk(chunk->name, chunk->content);
        return writer->take();
    }));
}

/// One chunk is read while the one before it is packed and sent.
Task<void> Export::disk(std::string id, std::unique_ptr<nbd::Client> from,
                        std::uint64_t size_bytes) {
    auto ready = std::make_shared<Chunk>();
    std::uint64_t number = 0;
    for (std::uint64_t at = 0; at < size_bytes; at += chunk_bytes, ++number) {
        const auto part =
            static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, size_bytes - at));
        auto next = std::make_shared<Chunk>();
        next->content.resize(part);
        std::vector<Task<void>> both;
        both.push_back(read(*from, at, next->content));
        both.push_back(put(ready));
        co_await all(loop_, std::move(both));
        if (loop_.now() - last_output_ > silence_max) {
            // An empty chunk takes a number and no room on the disk.
            co_await put(
                std::make_shared<Chunk>(Chunk{std::format("{}/{:08}", id, number), "", true}));
            ++number;
        }
        next->name = std::format("{}/{:08}", id, number);
        next->needed = at == 0 || at + part == size_bytes;
        ready = std::move(next);
        done_bytes_ += part;
        throw_if_cancelled(call_);
        call_.progress(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_));
    }
    co_await put(std::move(ready));
    co_await from->disconnect();
}

server::ResponseHead archive_head(const Call& call, const std::string& file) {
    server::ResponseHead head = early_head(call);
    head.version_10 = true;
    head.headers.emplace_back("content-disposition", "attachment; filename=\"" + file + "\"");
    return head;
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
    domain::VmArchive archive = domain::archive_of(call.db(), wish);
    std::uint64_t total = 0;
    call.db().transact([&](db::Txn& txn) {
        for (const domain::ArchivedDisk& disk : archive.disks) {
            mark_disk(txn, marks, disk.disk);
            total += static_cast<std::uint64_t>(txn.get(disk.disk).virtual_size);
        }
    });
    const std::string ova = ova_text(call.core(), std::move(archive.objects));
    Export out(exchange, call, compression, total);
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
    ArchiveWriter writer(Compression::none);
    writer.add(std::string(ova_file),
               ova_text(call.core(), domain::archive_of(call.db(), wish).objects));
    writer.finish();
    const std::string body = writer.take();
    server::ResponseHead head = archive_head(call, "export_metadata.xva");
    head.headers.emplace_back("content-length", std::to_string(body.size()));
    co_await exchange.begin(std::move(head), true);
    co_await exchange.write(body);
}

}  // namespace basalt::transfer
