#include <algorithm>
#include <array>

#include "base/json.hpp"
#include "idl/enums.hpp"
#include "idl/errors.hpp"
#include "idl/records/vdi.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/operation.hpp"
#include "xapi/core/tasks.hpp"
#include "xapi/transfer/named.hpp"
#include "xapi/transfer/streams.hpp"
#include "xapi/transfer/uploads.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;
using xenapi::Ref;
using xenapi::VdiOperations;

std::string format_of(const server::HttpRequest& request) {
    const std::string* format = parameter(request, "format");
    return format == nullptr || format->empty() ? "raw" : *format;
}

// {"error":["CODE",...]} as the host's agent writes it at either end of a stream.
void throw_if_error(const std::string& line) {
    const Json answer = Json::parse(line, nullptr, false);
    if (!answer.is_object()) throw err::vdi_io_error("the disk's host broke the stream off");
    if (!answer.contains("error")) return;
    auto words = answer.at("error").get<std::vector<std::string>>();
    const std::string code = words.empty() ? "INTERNAL_ERROR" : words.front();
    if (!words.empty()) words.erase(words.begin());
    throw ApiError(code, std::move(words));
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

Task<std::uint64_t> upload(Exchange& exchange, Call& call, Stream& disk, std::uint64_t expected) {
    std::array<char, 65536> buffer{};
    std::uint64_t total = 0;
    for (;;) {
        const std::size_t got = co_await read_upload(exchange, buffer);
        if (got == 0) co_return total;
        throw_if_cancelled(call);
        co_await disk.write({buffer.data(), got});
        total += got;
        call.progress(static_cast<double>(total) / static_cast<double>(expected));
    }
}

Task<void> import_disk(Exchange& exchange, Call& call, Adopt adopt) {
    const server::HttpRequest& request = exchange.request();
    if (request.chunked) {
        co_await exchange.respond(server::forbidden());
        throw err::not_implemented("chunked uploads");
    }
    const auto vdi = named<xenapi::Vdi>(call, request, "VDI", {"vdi", "uuid"});
    if (is_probe(request)) {
        co_await exchange.begin(early_head(call), true);
        co_return;
    }
    const xenapi::Vdi row = call.db().get(vdi);
    if (row.read_only) throw err::vdi_readonly(vdi);
    agent::Host& agent = core::home_agent(call.core(), row.SR);
    core::Operation operation(call);
    mark(call, operation, vdi, VdiOperations::update);
    co_await call.committed();
    const auto disk = adopt(co_await agent.vdi_import(
        call.operation(), {core::disk_ref(call.db(), vdi), format_of(request)}));
    co_await exchange.begin(early_head(call), true);
    const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(row.virtual_size, 1));
    const std::uint64_t expected = length_known(request) ? *request.content_length : size;
    const std::uint64_t sent = co_await upload(exchange, call, *disk, expected);
    disk->shutdown_write();
    LineReader answers(*disk);
    throw_if_error(co_await answers.line());
    if (length_known(request) && sent < expected) {
        throw err::vdi_io_error("the stream ended after " + std::to_string(sent) + " of " +
                                std::to_string(expected) + " bytes");
    }
    if (call.task())
        call.core().tasks->succeed_text(call.task(), "<value>" + vdi.text() + "</value>");
}

server::ResponseHead export_head(const Call& call, std::uint64_t size) {
    server::ResponseHead head = early_head(call);
    head.headers.emplace_back("content-length", std::to_string(size));
    return head;
}

Task<void> export_disk(Exchange& exchange, Call& call, Adopt adopt) {
    const server::HttpRequest& request = exchange.request();
    const auto vdi = named<xenapi::Vdi>(call, request, "VDI", {"vdi", "uuid"});
    if (parameter(request, "base") != nullptr)
        throw err::not_implemented("/export_raw_vdi with base");
    agent::Host& agent = core::home_agent(call.core(), call.db().get(vdi).SR);
    core::Operation operation(call);
    mark(call, operation, vdi, VdiOperations::copy);
    const auto disk =
        adopt(co_await agent.vdi_export({core::disk_ref(call.db(), vdi), format_of(request)}));
    LineReader reader(*disk);
    const std::string first = co_await reader.line();
    throw_if_error(first);
    const auto size = Json::parse(first).at("size").get<std::uint64_t>();
    co_await exchange.begin(export_head(call, size), true);
    std::array<char, 65536> buffer{};
    std::uint64_t sent = 0;
    while (sent < size) {
        const std::size_t got = co_await reader.read_some(buffer);
        if (got == 0)
            throw err::vdi_io_error("the disk ended after " + std::to_string(sent) + " bytes");
        throw_if_cancelled(call);
        co_await exchange.write({buffer.data(), got});
        sent += got;
        call.progress(static_cast<double>(sent) / static_cast<double>(size));
    }
}

}  // namespace

void add_routes(server::Router& router, server::HttpAuth& auth, Adopt adopt) {
    auth.add(
        router, server::http_action("put_import_raw_vdi"),
        [adopt](Exchange& exchange, Call& call) { return import_disk(exchange, call, adopt); });
    auth.add(
        router, server::http_action("get_export_raw_vdi"),
        [adopt](Exchange& exchange, Call& call) { return export_disk(exchange, call, adopt); });
    add_console_routes(router, auth, std::move(adopt));
}

}  // namespace basalt::transfer
