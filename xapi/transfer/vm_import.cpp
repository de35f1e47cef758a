// VMs into here: PUT /import and /import_metadata.
#include "xapi/domain/vm_import.hpp"

#include <algorithm>
#include <charconv>

#include "base/log.hpp"
#include "base/nbd.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/transfer/archive_reader.hpp"
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

constexpr std::size_t ova_bytes_max = std::size_t{64} << 20;
constexpr std::size_t chunk_bytes_max = std::size_t{16} << 20;
constexpr std::size_t checksum_bytes_max = 256;
constexpr std::string_view xxhash_suffix = ".xxhash";
constexpr std::string_view sha1_suffix = ".checksum";
/// Older releases write it last.
constexpr std::string_view checksum_table = "checksum.xml";

/// The request's body: counted, and given up when the client cancels its task.
class Body {
  public:
    Body(Exchange& exchange, Call& call) : exchange_(exchange), call_(call) {
        const server::HttpRequest& request = exchange.request();
        if (length_known(request)) expected_ = static_cast<double>(*request.content_length);
    }

    Task<std::size_t> read(std::span<char> buffer) {
        throw_if_cancelled(call_);
        const std::size_t got = co_await read_upload(exchange_, buffer);
        read_ += static_cast<double>(got);
        if (expected_ > 0) call_.progress(read_ / expected_);
        co_return got;
    }

  private:
    Exchange& exchange_;
    Call& call_;
    double expected_ = 0;  // 0: not known
    double read_ = 0;
};

struct ChunkName {
    std::string disk;
    std::int64_t number = -1;
};

/// `Ref:1/00000012`; a number of -1: no such name.
ChunkName parse_chunk_name(const std::string& name) {
    const std::size_t slash = name.rfind('/');
    ChunkName out;
    if (slash == std::string::npos) return out;
    std::int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + slash + 1, end, number);
    if (error != std::errc{} || stop != end || number < 0) return out;
    out.disk = name.substr(0, slash);
    out.number = number;
    return out;
}

/// The disks of an archive, filled one after the other as their chunks come.
class DiskFiller {
  public:
    DiskFiller(Call& call, const Adopt& adopt, const domain::VmImport& import)
        : call_(call), adopt_(adopt), import_(import) {}

    /// Throws IMPORT_ERROR_UNEXPECTED_FILE, IMPORT_ERROR.
    Task<void> chunk(std::string name, std::shared_ptr<const std::string> content, bool zeros);
    /// Throws IMPORT_ERROR_PREMATURE_EOF when a disk has not come whole.
    Task<void> finish();

  private:
    struct Disk {
        std::int64_t last_number = -1;
        std::uint64_t position = 0;
        std::uint64_t first_length = 0;
    };

    Task<void> turn_to(std::string id);
    Task<void> close();

    Call& call_;
    const Adopt& adopt_;
    const domain::VmImport& import_;
    std::map<std::string, Disk> disks_;
    std::string open_id_;
    std::unique_ptr<nbd::Client> open_;
};

Task<void> DiskFiller::turn_to(std::string id) {
    if (open_ && open_id_ == id) co_return;
    co_await close();
    const Ref<xenapi::Vdi> vdi = import_.disks().at(id).disk;
    agent::Host& host = core::home_agent(call_.core(), call_.db().get(vdi).SR);
    open_ = co_await nbd::Client::open(
        adopt_(co_await host.vdi_open({core::disk_ref(call_.db(), vdi), agent::Access::rw})),
        "disk");
    open_id_ = std::move(id);
}

Task<void> DiskFiller::close() {
    if (!open_) co_return;
    co_await open_->flush();
    co_await open_->disconnect();
    open_.reset();
}

Task<void> DiskFiller::chunk(std::string name, std::shared_ptr<const std::string> content,
                             bool zeros) {
    const ChunkName where = parse_chunk_name(name);
    const auto known = import_.disks().find(where.disk);
    if (where.number < 0 || known == import_.disks().end())
        throw err::import_error_unexpected_file("a chunk of a disk", name);
    Disk& disk = disks_[where.disk];
    if (where.number <= disk.last_number)
        throw err::import_error_unexpected_file("a later chunk of " + where.disk, name);
    const auto left_out = static_cast<std::uint64_t>(where.number - disk.last_number - 1);
    const std::uint64_t size = known->second.size_bytes;
    if (disk.first_length > 0 && left_out > size / disk.first_length)
        throw err::import_error(name + " lies beyond the end of its disk");
    disk.position += left_out * disk.first_length;
    disk.last_number = where.number;
    if (disk.first_length == 0) disk.first_length = content->size();
    const std::uint64_t at = disk.position;
    if (content->size() > size || at > size - content->size())
        throw err::import_error(name + " lies beyond the end of its disk");
    disk.position += content->size();
    if (zeros) co_return;  // the disk has just been made
    co_await turn_to(where.disk);
    for (std::size_t done = 0; done < content->size(); done += nbd::request_bytes_max) {
        const std::size_t part = std::min(nbd::request_bytes_max, content->size() - done);
        co_await open_->write(at + done, std::string_view(*content).substr(done, part));
    }
}

Task<void> DiskFiller::finish() {
    co_await close();
    for (const auto& [id, disk] : import_.disks()) {
        const auto filled = disks_.find(id);
        const std::uint64_t position = filled == disks_.end() ? 0 : filled->second.position;
        if (position < disk.size_bytes) throw err::import_error_premature_eof();
    }
}

/// Reads what comes after ova.xml.
class Contents {
  public:
    Contents(Loop& loop, ArchiveReader& reader, DiskFiller& disks, ExportVersion version,
             bool force)
        : loop_(loop), reader_(reader), disks_(disks), version_(version), force_(force) {}

    Task<void> run();

  private:
    struct Looked {
        bool zeros = false;
        std::string sum;
    };

    Task<void> one(std::string name);
    Task<std::optional<ArchiveReader::Entry>> next();

    Loop& loop_;
    ArchiveReader& reader_;
    DiskFiller& disks_;
    ExportVersion version_;
    bool force_;
    std::optional<ArchiveReader::Entry> peeked_;
};

Task<std::optional<ArchiveReader::Entry>> Contents::next() {
    if (peeked_) co_return std::exchange(peeked_, std::nullopt);
    co_return co_await reader_.next();
}

Task<void> Contents::run() {
    while (const auto entry = co_await next()) {
        if (entry->name != checksum_table) co_await one(entry->name);
    }
    co_await disks_.finish();
}

Task<void> Contents::one(std::string name) {
    const auto content =
        std::make_shared<const std::string>(co_await reader_.content(chunk_bytes_max));
    peeked_ = co_await reader_.next();
    const bool xxhash = peeked_ && peeked_->name == name + std::string(xxhash_suffix);
    const bool sha1 = peeked_ && peeked_->name == name + std::string(sha1_suffix);
    if (!xxhash && !sha1 && version_ != ExportVersion::table_at_end)
        throw err::import_error_unexpected_file(name + std::string(xxhash_suffix),
                                                peeked_ ? peeked_->name : "the end");
    std::string said;
    if (xxhash || sha1) {
        peeked_.reset();
        said = co_await reader_.content(checksum_bytes_max);
    }
    const Looked looked = co_await blocking(loop_, [content, xxhash, sha1] {
        return Looked{is_zero(*content), xxhash ? xxhash_text(*content)
                                         : sha1 ? sha1_text(*content)
                                                : std::string()};
    });
    if (looked.sum != said) {
        log::warn("import_checksum_wrong", {{"file", name}, {"said", said.substr(0, 64)}});
        if (!force_) throw err::import_error_some_checksums_failed();
    }
    co_await disks_.chunk(std::move(name), content, looked.zeros);
}

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

/// Reads the whole archive; what it has made is there and marked when it returns.
Task<void> take_in(Call& call, const VmParts& parts, ArchiveReader& reader,
                   domain::VmImport& import, domain::ImportWish wish) {
    const auto first = co_await reader.next();
    if (!first) throw err::import_error_premature_eof();
    if (first->name != ova_file)
        throw err::import_error_unexpected_file(std::string(ova_file), first->name);
    const std::string text = co_await reader.content(ova_bytes_max);
    OvaDocument document = parse_ova(call.core(), text);
    import.plan(std::move(document.objects));
    co_await import.make();
    co_await call.committed();
    if (!wish.with_disks) co_return;
    DiskFiller disks(call, parts.adopt, import);
    Contents contents(call.core().loop, reader, disks, document.version, wish.force);
    co_await contents.run();
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
    Body body(exchange, call);
    ArchiveReader reader(call.core().loop,
                         [&body](std::span<char> buffer) { return body.read(buffer); });
    domain::VmImport import(call, parts.storage, parts.networks, wish);
    co_await with_undo([&](Undo& undo) -> Task<void> {
        undo.push("take the import back", [&import] { return import.undo(); });
        co_await take_in(call, parts, reader, import, wish);
        throw_if_cancelled(call);
        const std::vector<Ref<xenapi::Vm>> vms = import.keep();
        if (call.task()) call.core().tasks->succeed_text(call.task(), result_text(vms));
    });
}

/// Only looks whether it could be imported.
Task<void> try_metadata(Exchange& exchange, Call& call, const VmParts& parts) {
    domain::ImportWish wish = wish_of(call, exchange.request(), false);
    if (co_await answered_early(exchange, call)) co_return;
    Body body(exchange, call);
    ArchiveReader reader(call.core().loop,
                         [&body](std::span<char> buffer) { return body.read(buffer); });
    const auto first = co_await reader.next();
    if (!first || first->name != ova_file)
        throw err::import_error_unexpected_file(std::string(ova_file), first ? first->name : "");
    OvaDocument document = parse_ova(call.core(), co_await reader.content(ova_bytes_max));
    domain::VmImport import(call, parts.storage, parts.networks, wish);
    import.plan(std::move(document.objects));
    if (call.task()) call.core().tasks->succeed_text(call.task(), result_text({}));
}

}  // namespace

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
