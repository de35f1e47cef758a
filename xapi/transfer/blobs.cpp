#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/durable_file.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/blob.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/transfer/file_bodies.hpp"
#include "xapi/transfer/files.hpp"
#include "xapi/transfer/named.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using xenapi::Blob;
using xenapi::Ref;

constexpr const char* unfinished = ".new-";

UniqueFd create_file(const std::string& path) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) throw_errno(path);
    return fd;
}

std::string file_of(const core::Core& core, const std::string& uuid) {
    std::string path = core::blob_file(core, uuid);
    if (path.empty()) throw err::internal_error("this pool keeps no files");
    return path;
}

server::ResponseHead head_of(const Blob& row) {
    return {.headers = {{"Connection", "close"},
                        {"Cache-Control", "no-cache, no-store"},
                        // Bytes of callers must not become a page of ours.
                        {"X-Content-Type-Options", "nosniff"},
                        {"Content-Security-Policy", "default-src 'none'; sandbox"},
                        {"content-type", row.mime_type}}};
}

/// The file, or nothing for a blob that was never written.
UniqueFd open_or_none(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd && errno != ENOENT) throw_errno(path);
    return fd;
}

Task<void> send_blob(Exchange& exchange, core::Core& core, Blob row) {
    const std::string path = file_of(core, row.uuid);
    const auto file = std::make_shared<UniqueFd>(
        co_await blocking(core.loop, [path] { return open_or_none(path); }));
    const std::uint64_t size = *file ? size_of(*file) : 0;
    server::ResponseHead head = head_of(row);
    head.headers.emplace_back("content-length", std::to_string(size));
    co_await exchange.begin(std::move(head), true);
    co_await send_file(exchange, core.loop, file, size, {});
}

Task<std::uint64_t> receive(Exchange& exchange, Loop& loop, std::string path) {
    const auto file =
        std::make_shared<UniqueFd>(co_await blocking(loop, [path] { return create_file(path); }));
    co_return co_await receive_file(exchange, loop, file, core::blob_bytes_max,
                                    err::out_of_space("blobs"));
}

Task<void> get_blob(Exchange& exchange, Call& call) {
    const Ref<Blob> blob = named<Blob>(call, exchange.request(), "blob", {"ref", "uuid"});
    return send_blob(exchange, call.core(), call.db().get(blob));
}

/// A file that goes with its scope unless it was renamed.
struct Unfinished {
    explicit Unfinished(std::string path_in) : path(std::move(path_in)) {}

    Unfinished(const Unfinished&) = delete;
    Unfinished& operator=(const Unfinished&) = delete;

    ~Unfinished() { ::unlink(path.c_str()); }

    std::string path;
};

Task<void> put_blob(Exchange& exchange, Call& call) {
    const server::HttpRequest& request = exchange.request();
    if (request.chunked) throw err::not_implemented("chunked uploads");
    if (request.content_length && *request.content_length > core::blob_bytes_max)
        throw err::out_of_space("blobs");
    const Ref<Blob> blob = named<Blob>(call, request, "blob", {"ref", "uuid"});
    core::Core& core = call.core();
    if (!core::keeps_blobs(core))
        throw err::operation_not_allowed("The host keeps no blobs (host.disable_binary_storage)");
    const Blob row = call.db().get(blob);
    const std::string path = file_of(core, row.uuid);
    const Unfinished fresh(path + unfinished + core.new_uuid());
    // Clients send nothing before they are told to.
    co_await exchange.begin(head_of(row), true);
    const std::uint64_t size = co_await receive(exchange, core.loop, fresh.path);
    if (request.content_length && size < *request.content_length)
        throw err::client_error("the bytes ended after " + std::to_string(size));
    (void)call.db().get(blob);  // it may have been destroyed meanwhile
    co_await blocking(core.loop, [from = fresh.path, path] { rename_durably(from, path); });
    if (!core::keeps_blobs(core)) {  // switched off meanwhile, and all others are gone
        co_await blocking(core.loop, [path] { std::filesystem::remove(path); });
        co_return;
    }
    call.db().transact_fact([&](db::Txn& txn) {
        if (txn.find(blob) == nullptr) return;
        txn.edit(blob).size = static_cast<std::int64_t>(size);
        txn.edit(blob).last_updated = xenapi::DateTime{core.now_seconds()};
    });
}

/// The blob that a request without credentials may read, if any.
const Blob* public_blob(const core::Core& core, const server::HttpRequest& request) {
    const Blob* row = nullptr;
    if (const std::string* text = server::parameter(request, "ref"))
        if (const auto ref = xenapi::parse_ref(*text)) row = core.db.find(Ref<Blob>(*ref));
    if (const std::string* uuid = server::parameter(request, "uuid"); uuid != nullptr && !row)
        if (const auto found = core.db.by_uuid<Blob>(*uuid)) row = core.db.find(*found);
    return row != nullptr && row->public_ ? row : nullptr;
}

}  // namespace

void add_blob_routes(server::Router& router, server::HttpAuth& auth, core::Core& core) {
    auth.add(router, server::http_action("put_blob"), put_blob);
    auth.add(router, server::http_action("get_blob"), get_blob);
    const server::Handler guarded = router.find("GET", "/blob")->handler;
    router.add("GET", "/blob", [&core, guarded](Exchange& exchange) {
        if (const Blob* row = public_blob(core, exchange.request()))
            return send_blob(exchange, core, *row);
        return guarded(exchange);
    });
}

}  // namespace basalt::transfer
