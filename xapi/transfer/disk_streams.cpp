// Disks as streams of bytes: GET /export_raw_vdi and PUT /import_raw_vdi.
#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/nbd.hpp"
#include "idl/enums.hpp"
#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vbd.hpp"
#include "idl/records/vdi.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/transfer/archive_contents.hpp"
#include "xapi/transfer/archive_sender.hpp"
#include "xapi/transfer/named.hpp"
#include "xapi/transfer/ranges.hpp"
#include "xapi/transfer/uploads.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;
using xenapi::Ref;
using xenapi::VdiOperations;

struct Format {
    std::string_view name;
    std::string_view content_type;
};

constexpr std::array formats = {
    Format{"raw", "application/octet-stream"},
    Format{"vhd", "application/vhd"},
    Format{"qcow2", "application/x-qemu-disk"},
    Format{"tar", "application/x-tar"},
};

/// The folder of the pieces in an archive of one disk.
const std::string tar_folder = "vdi";

/// Null: nobody knows that one.
const Format* format_of(const server::HttpRequest& request) {
    const std::string* name = parameter(request, "format");
    if (name == nullptr || name->empty()) return &formats.front();
    const auto at = std::ranges::find(formats, *name, &Format::name);
    return at == formats.end() ? nullptr : &*at;
}

Task<void> refuse_format(Exchange& exchange) {
    co_await exchange.respond(server::not_found(exchange.request().path));
    throw err::internal_error("unknown format " + *parameter(exchange.request(), "format"));
}

/// Marks the disk for as long as bytes move, after a look at what else is done with it. Readers
/// share a disk; a writer has it alone, also from VMs, which the disk's host sees to.
void mark(Call& call, core::Operation& operation, Ref<xenapi::Vdi> vdi, VdiOperations what) {
    call.db().transact([&](db::Txn& txn) {
        for (const auto& [task, other] : txn.get(vdi).current_operations) {
            if (what == VdiOperations::copy && other == VdiOperations::copy) continue;
            throw err::other_operation_in_progress("VDI", vdi, xenapi::wire_text(other), task);
        }
        operation.mark(txn, vdi, what);
    });
}

Task<std::unique_ptr<nbd::Client>> opened(Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi,
                                          agent::Access access) {
    agent::Host& agent = core::home_agent(call.core(), call.db().get(vdi).SR);
    auto server = adopt(co_await agent.vdi_open({core::disk_ref(call.db(), vdi), access}));
    co_return co_await nbd::Client::open(std::move(server), "disk");
}

std::uint64_t size_of(const Call& call, Ref<xenapi::Vdi> vdi) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(call.db().get(vdi).virtual_size, 0));
}

// -- in -------------------------------------------------------------------------------------------

/// What comes, until it ends or the disk's host has heard enough: then that says why.
Task<void> upload(UploadBody& body, Stream& disk) {
    std::array<char, 65536> buffer{};
    for (;;) {
        const std::size_t got = co_await body.read(buffer);
        if (got == 0) co_return;
        try {
            co_await disk.write({buffer.data(), got});
        } catch (const boost::system::system_error& error) {
            if (error.code() == asio::error::operation_aborted) throw;
            co_return;
        }
    }
}

/// By the host, in one of the formats that it knows.
Task<void> import_by_host(Exchange& exchange, Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi,
                          std::string format) {
    agent::Host& agent = core::home_agent(call.core(), call.db().get(vdi).SR);
    co_await call.committed();
    const auto disk = adopt(
        co_await agent.vdi_import(call.operation(), {core::disk_ref(call.db(), vdi), format}));
    co_await exchange.begin(early_head(call), true);
    UploadBody body(exchange, call);
    co_await upload(body, *disk);
    disk->shutdown_write();
    LineReader answers(*disk);
    throw_if_error(co_await answers.line());
    const server::HttpRequest& request = exchange.request();
    if (length_known(request) && body.read_bytes() < *request.content_length)
        throw err::vdi_io_error("the stream ended after " + std::to_string(body.read_bytes()) +
                                " of " + std::to_string(*request.content_length) + " bytes");
}

Task<void> import_tar(Exchange& exchange, Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi) {
    co_await exchange.begin(early_head(call), true);
    UploadBody body(exchange, call);
    ArchiveReader reader(call.core().loop,
                         [&body](std::span<char> buffer) { return body.read(buffer); });
    Fill fill;
    fill.targets[tar_folder] = {vdi, size_of(call, vdi), false};
    co_await fill_disks(call, adopt, reader, std::move(fill));
}

/// Pieces of the disk, each behind its offset (64 bits) and length (32 bits, both with the lowest
/// byte first); the one of offset and length 0 is the last.
class PieceReader {
  public:
    explicit PieceReader(UploadBody& body) : body_(body) {}

    struct Head {
        std::int64_t offset = 0;
        std::int32_t length = 0;
    };

    Task<Head> head() {
        std::array<char, 12> bytes{};
        co_await exactly(bytes);
        co_return Head{number<std::int64_t>(std::span(bytes).first<8>()),
                       number<std::int32_t>(std::span(bytes).last<4>())};
    }

    Task<void> exactly(std::span<char> buffer) {
        while (!buffer.empty()) {
            const std::size_t got = co_await body_.read(buffer);
            if (got == 0) throw err::vdi_io_error("the stream ended within a piece");
            buffer = buffer.subspan(got);
        }
    }

  private:
    template <class T>
    static T number(std::span<const char> bytes) {
        std::uint64_t value = 0;
        for (std::size_t i = bytes.size(); i-- > 0;)
            value = value << 8U | static_cast<unsigned char>(bytes[i]);
        return static_cast<T>(value);
    }

    UploadBody& body_;
};

Task<void> import_pieces(Exchange& exchange, Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi) {
    const auto disk = co_await opened(call, adopt, vdi, agent::Access::rw);
    co_await exchange.begin(early_head(call), true);
    UploadBody body(exchange, call);
    PieceReader pieces(body);
    std::string buffer;
    for (;;) {
        const PieceReader::Head head = co_await pieces.head();
        if (head.offset == 0 && head.length == 0) break;
        const auto size = static_cast<std::int64_t>(disk->size_bytes());
        if (head.offset < 0 || head.length < 0 || head.length > size ||
            head.offset > size - head.length)
            throw err::vdi_io_error("a piece lies beyond the end of the disk");
        for (std::int64_t done = 0; done < head.length;) {
            const auto part = std::min<std::int64_t>(
                head.length - done, static_cast<std::int64_t>(nbd::request_bytes_max));
            buffer.resize(static_cast<std::size_t>(part));
            co_await pieces.exactly(buffer);
            co_await disk->write(static_cast<std::uint64_t>(head.offset + done), buffer);
            done += part;
        }
    }
    co_await disk->flush();
    co_await disk->disconnect();
}

Task<void> import_into(Exchange& exchange, Call& call, const VmParts& parts, Ref<xenapi::Vdi> vdi,
                       const Format& format) {
    core::Operation operation(call);
    mark(call, operation, vdi, VdiOperations::update);
    const bool in_pieces = parameter(exchange.request(), "chunked") != nullptr;
    if (in_pieces && format.name != "raw")
        throw err::invalid_value("chunked", "only raw streams come in pieces");
    if (in_pieces) {
        co_await import_pieces(exchange, call, parts.adopt, vdi);
    } else if (format.name == "tar") {
        co_await import_tar(exchange, call, parts.adopt, vdi);
    } else {
        co_await import_by_host(exchange, call, parts.adopt, vdi, std::string(format.name));
    }
}

void succeed(Call& call, Ref<xenapi::Vdi> vdi) {
    if (call.task())
        call.core().tasks->succeed_text(call.task(), "<value>" + vdi.text() + "</value>");
}

/// A disk of its own for a raw stream; it goes again when the stream breaks.
Task<void> import_new(Exchange& exchange, Call& call, const VmParts& parts) {
    const server::HttpRequest& request = exchange.request();
    const bool says_sr = parameter(request, "sr_id") || parameter(request, "sr_uuid");
    const Format* format = format_of(request);
    if (!says_sr || format == nullptr || format->name != "raw" || !length_known(request)) {
        co_await exchange.respond(server::bad_request("which disk?"));
        throw err::vdi_missing("", "");
    }
    const auto sr = named<xenapi::Sr>(call, request, "SR", {"sr_id", "sr_uuid"});
    xenapi::Vdi row;
    row.SR = sr;
    row.name_label = "Imported VDI";
    row.type = xenapi::VdiType::user;
    row.virtual_size = static_cast<std::int64_t>(*request.content_length);
    domain::Storage::Drafts drafts(parts.storage);
    const auto vdi = co_await parts.storage.create_disk(call, std::move(row), &drafts);
    co_await import_into(exchange, call, parts, vdi, *format);
    call.db().transact([&](db::Txn& txn) { drafts.keep(txn); });
    succeed(call, vdi);
}

Task<void> import_disk(Exchange& exchange, Call& call, const VmParts& parts) {
    const server::HttpRequest& request = exchange.request();
    if (request.chunked) {
        co_await exchange.respond(server::not_found(request.path));
        throw err::not_implemented("chunked uploads");
    }
    const bool says_disk = parameter(request, "vdi") || parameter(request, "uuid");
    const bool probe = is_probe(request);
    if (!says_disk && !probe) co_return co_await import_new(exchange, call, parts);
    const Format* format = format_of(request);
    if (format == nullptr) co_await refuse_format(exchange);
    const auto vdi =
        says_disk ? named<xenapi::Vdi>(call, request, "VDI", {"vdi", "uuid"}) : Ref<xenapi::Vdi>();
    if (probe) {
        co_await exchange.begin(early_head(call), true);
        co_return;
    }
    if (call.db().get(vdi).read_only) throw err::vdi_readonly(vdi);
    co_await import_into(exchange, call, parts, vdi, *format);
    succeed(call, vdi);
}

// -- out ------------------------------------------------------------------------------------------

server::ResponseHead export_head(const Call& call, Ref<xenapi::Vdi> vdi, std::string_view format) {
    const auto* const known = std::ranges::find(formats, format, &Format::name);
    server::ResponseHead head = early_head(call, known->content_type);
    head.headers.emplace_back(
        "content-disposition",
        "attachment; filename=\"" + call.db().get(vdi).uuid + "." + std::string(format) + "\"");
    return head;
}

Task<void> export_tar(Exchange& exchange, Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi) {
    auto disk = co_await opened(call, adopt, vdi, agent::Access::ro);
    co_await exchange.begin(export_head(call, vdi, "tar"), true);
    ArchiveSender out(exchange, call, Compression::none, size_of(call, vdi));
    co_await out.disk(tar_folder, std::move(disk), size_of(call, vdi));
    co_await out.finish();
}

/// Whether a guest has the disk open for writing, on whichever host.
bool is_written(const Call& call, Ref<xenapi::Vdi> vdi) {
    return std::ranges::any_of(call.db().get(vdi).VBDs, [&call](Ref<xenapi::Vbd> ref) {
        const xenapi::Vbd& vbd = call.db().get(ref);
        return vbd.currently_attached && vbd.mode == xenapi::VbdMode::rw;
    });
}

/// What the host says before the bytes.
struct Announced {
    std::uint64_t size = 0;
    std::string etag;  // empty: the next stream may have other bytes
};

Announced announced(const Call& call, Ref<xenapi::Vdi> vdi, const std::string& line) {
    throw_if_error(line);
    const Json said = Json::parse(line);
    Announced out{said.at("size").get<std::uint64_t>(), said.value("version", "")};
    if (!out.etag.empty())
        out.etag = is_written(call, vdi) ? std::string() : "\"" + out.etag + "\"";
    return out;
}

/// A disk on its way to the client: `read` gives the next bytes of `range`, 0 when it has no more.
struct Outgoing {
    std::function<Task<std::size_t>(std::span<char>)> read;
    ByteRange range;
    std::uint64_t size = 0;  // of the whole
};

Task<void> send(Exchange& exchange, Call& call, Outgoing from) {
    std::string buffer(nbd::request_bytes_max, '\0');
    for (std::uint64_t at = from.range.begin; at < from.range.end;) {
        const auto want = std::min<std::uint64_t>(buffer.size(), from.range.end - at);
        const std::size_t got = co_await from.read(std::span(buffer).first(want));
        if (got == 0)
            throw err::vdi_io_error("the disk ended after " + std::to_string(at) + " bytes");
        throw_if_cancelled(call);
        co_await exchange.write({buffer.data(), got});
        at += got;
        call.progress(static_cast<double>(at) / static_cast<double>(from.size));
    }
}

/// What lies behind the part of a raw disk that the client has already.
Task<void> send_rest(Exchange& exchange, Call& call, nbd::Client& disk, ByteRange range) {
    std::uint64_t next = range.begin;
    const auto read = [&disk, &next](std::span<char> buffer) -> Task<std::size_t> {
        co_await disk.read(next, buffer);
        next += buffer.size();
        co_return buffer.size();
    };
    co_await send(exchange, call, {read, range, disk.size_bytes()});
    co_await disk.disconnect();
}

Task<void> refuse_range(Exchange& exchange, server::ResponseHead head) {
    const std::string range = *exchange.request().header("Range");
    co_await exchange.respond({.head = std::move(head), .body = "", .close = true});
    throw err::invalid_value("Range", range);
}

/// By the host, which says first how long it will be.
Task<void> export_by_host(Exchange& exchange, Call& call, const Adopt& adopt, Ref<xenapi::Vdi> vdi,
                          agent::VdiExportArgs what) {
    server::ResponseHead head = export_head(call, vdi, what.format);
    agent::Host& agent = core::home_agent(call.core(), call.db().get(vdi).SR);
    const auto disk = adopt(co_await agent.vdi_export(std::move(what)));
    LineReader reader(*disk);
    const Announced about = announced(call, vdi, co_await reader.line());
    const RangeAnswer answer = range_of(exchange.request(), about.size, about.etag);
    describe_range(head, answer, about.size, about.etag);
    if (answer.kind == RangeAnswer::Kind::beyond) co_await refuse_range(exchange, std::move(head));
    if (answer.bytes.begin == 0) {
        co_await exchange.begin(std::move(head), true);
        const auto read = [&reader](std::span<char> buffer) { return reader.read_some(buffer); };
        co_return co_await send(exchange, call, {read, answer.bytes, about.size});
    }
    // That stream cannot skip; while it holds the disk, what another reads is what it announced.
    const auto rest = co_await opened(call, adopt, vdi, agent::Access::ro);
    disk->close();
    co_await exchange.begin(std::move(head), true);
    co_await send_rest(exchange, call, *rest, answer.bytes);
}

Task<void> export_disk(Exchange& exchange, Call& call, const Adopt& adopt) {
    const server::HttpRequest& request = exchange.request();
    const Format* format = format_of(request);
    if (format == nullptr) co_await refuse_format(exchange);
    const auto vdi = named<xenapi::Vdi>(call, request, "VDI", {"vdi", "uuid"});
    if (const auto type = call.db().get(vdi).type; type == xenapi::VdiType::cbt_metadata)
        throw err::vdi_incompatible_type(vdi, xenapi::wire_text(type));
    core::Operation operation(call);
    mark(call, operation, vdi, VdiOperations::copy);
    agent::VdiExportArgs what{.disk = core::disk_ref(call.db(), vdi),
                              .format = std::string(format->name)};
    if (parameter(request, "base") != nullptr) {
        const auto base = named<xenapi::Vdi>(call, request, "VDI", {"base"});
        if (call.db().get(base).SR != call.db().get(vdi).SR)
            throw err::invalid_value("base", "it is in another repository");
        if (base != vdi) mark(call, operation, base, VdiOperations::copy);
        what.base = core::disk_ref(call.db(), base);
    }
    if (format->name == "tar") {
        if (what.base) throw err::invalid_value("base", "an archive has none");
        co_await export_tar(exchange, call, adopt, vdi);
    } else {
        co_await export_by_host(exchange, call, adopt, vdi, std::move(what));
    }
}

}  // namespace

void add_disk_routes(server::Router& router, server::HttpAuth& auth, VmParts given) {
    const auto parts = std::make_shared<const VmParts>(std::move(given));
    auth.add(
        router, server::http_action("put_import_raw_vdi"),
        [parts](Exchange& exchange, Call& call) { return import_disk(exchange, call, *parts); });
    auth.add(router, server::http_action("get_export_raw_vdi"),
             [parts](Exchange& exchange, Call& call) {
                 return export_disk(exchange, call, parts->adopt);
             });
}

}  // namespace basalt::transfer
