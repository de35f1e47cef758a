#include "xapi/transfer/database.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/db/store/dump.hpp"
#include "xapi/transfer/file_bodies.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;

/// Far more than the largest pool has; it is read into memory to be checked.
constexpr std::uint64_t dump_bytes_max = std::uint64_t{1} << 30;

/// A file that goes with its scope; the next start removes what a kill left of these names.
class PassingFile {
  public:
    explicit PassingFile(std::string path) : path_(std::move(path)) {}

    ~PassingFile() { ::unlink(path_.c_str()); }

    PassingFile(const PassingFile&) = delete;
    PassingFile& operator=(const PassingFile&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

UniqueFd open_or_throw(const std::string& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    if (!fd) throw_errno(path);
    return fd;
}

server::ResponseHead head_of(const Call& call) {
    server::ResponseHead head{.headers = {{"Connection", "close"},
                                          {"Cache-Control", "no-cache, no-store"},
                                          {"content-type", "application/xml"}}};
    if (call.task()) head.headers.emplace_back("Task-id", call.task().text());
    return head;
}

Task<void> send_dump(Exchange& exchange, Call& call, Loop& loop, std::string path) {
    const File file = std::make_shared<UniqueFd>(
        co_await blocking(loop, [path] { return open_or_throw(path, O_RDONLY); }));
    const std::uint64_t size = size_of(*file);
    server::ResponseHead head = head_of(call);
    head.headers.emplace_back("content-length", std::to_string(size));
    co_await exchange.begin(std::move(head), true);
    co_await send_file(exchange, loop, file, size, [&call, size](std::uint64_t sent) {
        call.progress(static_cast<double>(sent) / static_cast<double>(size));
    });
}

std::string name_beside(Call& call, const std::string& store) {
    return store + ".scratch-" + call.core().new_uuid();
}

Task<void> dump(Exchange& exchange, Call& call, std::shared_ptr<const DatabaseFiles> files) {
    Loop& loop = call.core().loop;
    // What the caller has been told before must be in it.
    co_await call.db().durable(call.db().published());
    const PassingFile file(name_beside(call, files->store));
    co_await blocking(loop,
                      [store = files->store, to = file.path()] { db::write_dump(store, to); });
    co_await send_dump(exchange, call, loop, file.path());
}

Task<void> restore(Exchange& exchange, Call& call, std::shared_ptr<const DatabaseFiles> files) {
    const server::HttpRequest& request = exchange.request();
    if (request.chunked) throw err::not_implemented("chunked uploads");
    const std::string* dry = parameter(request, "dry_run");
    const bool only_looks = dry != nullptr && *dry == "true";
    Loop& loop = call.core().loop;
    const PassingFile file(name_beside(call, files->store));
    // Clients send nothing before they are told to.
    co_await exchange.begin(head_of(call), true);
    const File to = std::make_shared<UniqueFd>(co_await blocking(
        loop, [path = file.path()] { return open_or_throw(path, O_WRONLY | O_CREAT | O_EXCL); }));
    const std::uint64_t size = co_await receive_file(
        exchange, loop, to, dump_bytes_max, err::could_not_import_database("it is too large"));
    if (request.content_length && size < *request.content_length)
        throw err::could_not_import_database("it ended after " + std::to_string(size) + " bytes");
    co_await blocking(loop, [from = file.path(), files, only_looks] {
        db::StoreContents contents = db::read_dump(from);
        db::check_contents(contents, files->host_uuid);
        if (!only_looks) db::stage_restore(contents, files->store);
    });
    log::info("database_restore", {{"dry_run", only_looks}, {"bytes", size}});
    if (!only_looks) files->restart();
}

}  // namespace

void add_database_routes(server::Router& router, server::HttpAuth& auth, DatabaseFiles given) {
    const auto files = std::make_shared<const DatabaseFiles>(std::move(given));
    auth.add(router, server::http_action("get_pool_xml_db_sync"),
             [files](Exchange& exchange, Call& call) { return dump(exchange, call, files); });
    auth.add(router, server::http_action("put_pool_xml_db_sync"),
             [files](Exchange& exchange, Call& call) { return restore(exchange, call, files); });
}

}  // namespace basalt::transfer
