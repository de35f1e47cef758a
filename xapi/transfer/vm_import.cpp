// VMs into here: PUT /import and /import_metadata.
#include "xapi/domain/vm_import.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/undo.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/transfer/archive_contents.hpp"
#include "xapi/transfer/archive_reader.hpp"
#include "xapi/transfer/named.hpp"
#include "xapi/transfer/ova_document.hpp"
#include "xapi/transfer/ovf_document.hpp"
#include "xapi/transfer/uploads.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;
using xenapi::Ref;

constexpr std::string_view ovf_suffix = ".ovf";
constexpr std::size_t ova_bytes_max = std::size_t{64} << 20;

std::string result_text(const std::vector<Ref<xenapi::Vm>>& vms) {
    std::string out = "<value><array><data>";
    for (const auto vm : vms)
        out += "<value>" + vm.text() + "</value>";
    return out + "</data></array></value>";
}

domain::ImportWish wish_of(Call& call, const server::HttpRequest& request, bool with_disks) {
    domain::ImportWish wish{.restore = truth(request, "restore"),
                            .force = truth(request, "force"),
                            .with_disks = with_disks};
    const bool says_sr = parameter(request, "sr_id") || parameter(request, "sr_uuid");
    if (says_sr) wish.sr = named<xenapi::Sr>(call, request, "SR", {"sr_id", "sr_uuid"});
    constexpr std::string_view disk = "vdi:";
    for (const auto& [name, value] : request.query)
        if (name.starts_with(disk)) wish.disks_here.emplace(name.substr(disk.size()), value);
    return wish;
}

Task<OvaDocument> read_document(core::Core& core, ArchiveReader& reader,
                                const std::optional<ArchiveReader::Entry>& first) {
    if (!first) throw err::import_error_premature_eof();
    if (first->name != ova_file)
        throw err::import_error_unexpected_file(std::string(ova_file), first->name);
    const auto text = std::make_shared<const std::string>(co_await reader.content(ova_bytes_max));
    co_return co_await blocking(
        core.loop, [&product = core.product, text] { return parse_ova(product, *text); });
}

/// The present file of the archive into a disk, by the disk's host, which knows the format.
Task<void> fill_by_host(Call& call, const VmParts& parts, ArchiveReader& reader,
                        Ref<xenapi::Vdi> disk, std::string format) {
    agent::Host& agent = core::home_agent(call.core(), call.db().get(disk).SR);
    const auto stream = parts.adopt(co_await agent.vdi_import(
        call.operation(), {core::disk_ref(call.db(), disk), std::move(format)}));
    std::vector<char> buffer(std::size_t{64} * 1024);
    bool heard = true;
    while (heard) {
        const std::size_t got = co_await reader.read(buffer);
        if (got == 0) break;
        try {
            co_await stream->write({buffer.data(), got});
        } catch (const boost::system::system_error& error) {
            if (error.code() == asio::error::operation_aborted) throw;
            heard = false;  // it has seen enough, and says why
        }
    }
    stream->shutdown_write();
    LineReader answers(*stream);
    throw_if_error(co_await answers.line());
}

/// The same as take_in for an OVA: a description in OVF, and images that their host converts.
Task<void> take_in_ovf(Call& call, const VmParts& parts, ArchiveReader& reader,
                       domain::VmImport& import) {
    const auto text = std::make_shared<const std::string>(co_await reader.content(ova_bytes_max));
    OvfDocument document = co_await blocking(call.core().loop, [text] { return parse_ovf(*text); });
    import.plan(std::move(document.objects));
    co_await import.make();
    co_await call.committed();
    while (const auto entry = co_await reader.next()) {
        const auto found = document.files.find(entry->name);
        if (found == document.files.end()) continue;  // the manifest, its signature, texts
        co_await fill_by_host(call, parts, reader, import.disks().at(found->second.disk).disk,
                              found->second.format);
        document.files.erase(found);
    }
    if (!document.files.empty()) throw err::import_error_premature_eof();
}

/// Reads the whole archive; what it has made is there and marked when it returns.
Task<void> take_in(Call& call, const VmParts& parts, ArchiveReader& reader,
                   domain::VmImport& import, domain::ImportWish wish) {
    const auto first = co_await reader.next();
    if (wish.with_disks && first && first->name.ends_with(ovf_suffix))
        co_return co_await take_in_ovf(call, parts, reader, import);
    OvaDocument document = co_await read_document(call.core(), reader, first);
    import.plan(std::move(document.objects));
    co_await import.make();
    co_await call.committed();
    if (!wish.with_disks) co_return;
    FillTargets targets;
    for (const auto& [id, disk] : import.disks())
        targets[id] = {disk.disk, disk.size_bytes, true};
    co_await fill_disks(call, parts.adopt, reader,
                        {std::move(targets), document.version, wish.force});
}

/// Whether the request needs no more than this.
Task<bool> answered_early(Exchange& exchange, Call& call) {
    const server::HttpRequest& request = exchange.request();
    if (request.chunked) {
        co_await exchange.respond(server::forbidden());
        throw err::import_error_cannot_handle_chunked();
    }
    const bool probe = is_probe(request);
    if (!probe) call.db().transact([&](db::Txn& txn) { call.task(txn); });
    // Clients send nothing before they are told to.
    co_await exchange.begin(early_head(call), true);
    co_return probe;
}

Task<void> import_archive(Exchange& exchange, Call& call, const VmParts& parts, bool with_disks) {
    domain::ImportWish wish = wish_of(call, exchange.request(), with_disks);
    if (co_await answered_early(exchange, call)) co_return;
    UploadBody body(exchange, call);
    const std::vector<Ref<xenapi::Vm>> vms = co_await import_stream(
        call, parts, [&body](std::span<char> buffer) { return body.read(buffer); }, wish);
    if (call.task()) call.core().tasks->succeed_text(call.task(), result_text(vms));
}

/// Only looks whether it could be imported.
Task<void> try_metadata(Exchange& exchange, Call& call, const VmParts& parts) {
    domain::ImportWish wish = wish_of(call, exchange.request(), false);
    if (co_await answered_early(exchange, call)) co_return;
    UploadBody body(exchange, call);
    ArchiveReader reader(call.core().loop,
                         [&body](std::span<char> buffer) { return body.read(buffer); });
    const auto first = co_await reader.next();
    OvaDocument document = co_await read_document(call.core(), reader, first);
    domain::VmImport import(call, parts.storage, parts.networks, wish);
    import.plan(std::move(document.objects));
    if (call.task()) call.core().tasks->succeed_text(call.task(), result_text({}));
}

}  // namespace

Task<std::vector<Ref<xenapi::Vm>>> import_stream(Call& call, const VmParts& parts, ReadArchive read,
                                                 domain::ImportWish wish) {
    ArchiveReader reader(call.core().loop, std::move(read));
    domain::VmImport import(call, parts.storage, parts.networks, wish);
    std::vector<Ref<xenapi::Vm>> vms;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("take the import back", [&import] { return import.undo(); });
        co_await take_in(call, parts, reader, import, wish);
        throw_if_cancelled(call);
        vms = import.keep();
    });
    co_return vms;
}

Task<void> import_vm(Exchange& exchange, Call& call, const VmParts& parts) {
    return import_archive(exchange, call, parts, true);
}

Task<void> import_metadata(Exchange& exchange, Call& call, const VmParts& parts) {
    if (truth(exchange.request(), "dry_run")) return try_metadata(exchange, call, parts);
    return import_archive(exchange, call, parts, false);
}

void add_vm_routes(server::Router& router, server::HttpAuth& auth, VmParts given) {
    const auto parts = std::make_shared<const VmParts>(std::move(given));
    auth.add(router, server::http_action("get_export"), [parts](Exchange& exchange, Call& call) {
        return export_vm(exchange, call, parts->adopt);
    });
    auth.add(router, server::http_action("get_export_metadata"),
             [](Exchange& exchange, Call& call) { return export_metadata(exchange, call); });
    auth.add(router, server::http_action("put_import"),
             [parts](Exchange& exchange, Call& call) { return import_vm(exchange, call, *parts); });
    auth.add(router, server::http_action("put_import_metadata"),
             [parts](Exchange& exchange, Call& call) {
                 return import_metadata(exchange, call, *parts);
             });
}

}  // namespace basalt::transfer
