#include <algorithm>
#include <array>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/runtime/datetime.hpp"
#include "xapi/core/audit_log.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/core/system_status.hpp"
#include "xapi/transfer/files.hpp"

namespace basalt::transfer {

namespace {

using server::Exchange;
using server::parameter;

server::ResponseHead head_of(const char* type) {
    return {.headers = {{"Connection", "close"},
                        {"Cache-Control", "no-cache, no-store"},
                        {"content-type", type}}};
}

Task<void> send_audit_log(Exchange& exchange, Call& call) {
    std::int64_t since = 0;
    if (const std::string* text = parameter(exchange.request(), "since"); text && !text->empty()) {
        const auto moment = xenapi::DateTime::parse(*text);
        if (!moment) throw err::invalid_value("since", *text);
        since = moment->seconds;
    }
    core::AuditLog* const audit = call.core().audit;
    const std::string text = audit == nullptr ? std::string() : co_await audit->read(since);
    co_await exchange.begin(head_of("text/plain"), true);
    co_await exchange.write(text);
}

std::vector<std::string> entries_of(const server::HttpRequest& request) {
    std::vector<std::string> out;
    const std::string* text = parameter(request, "entries");
    if (text == nullptr) return out;
    for (std::size_t begin = 0; begin < text->size();) {
        const std::size_t end = std::min(text->find(',', begin), text->size());
        std::string key = text->substr(begin, end - begin);
        // Clients ask for what other servers have; the host packs what it knows.
        if (std::ranges::contains(core::status_parts(), key, &core::StatusPart::key))
            out.push_back(std::move(key));
        begin = end + 1;
    }
    if (out.empty() && !text->empty()) throw err::invalid_value("entries", *text);
    return out;
}

Task<void> send_bundle(Exchange& exchange, Call& call, Adopt adopt,
                       std::vector<std::string> entries, std::string format) {
    const auto bundle = adopt(
        co_await call.core().hosts->local().host_bundle({std::move(entries), std::move(format)}));
    co_await exchange.begin(head_of("application/octet-stream"), true);
    std::array<char, 65536> buffer{};
    for (;;) {
        const std::size_t got = co_await bundle->read_some(buffer);
        if (got == 0) co_return;
        co_await exchange.write({buffer.data(), got});
    }
}

Task<void> send_status(Exchange& exchange, Call& call, Adopt adopt) {
    const server::HttpRequest& request = exchange.request();
    if (parameter(request, "list") != nullptr) {
        co_await exchange.begin(head_of("text/xml"), true);
        co_await exchange.write(core::system_status_capabilities());
        co_return;
    }
    const std::string* output = parameter(request, "output");
    std::string format = output == nullptr || output->empty() ? "tar.bz2" : *output;
    if (format != "tar" && format != "tar.bz2" && format != "zip")
        throw err::invalid_value("output", format);
    co_await send_bundle(exchange, call, adopt, entries_of(request), std::move(format));
}

// What the host's daemons and its system have written; as packed as clients name their files.
Task<void> send_logs(Exchange& exchange, Call& call, Adopt adopt) {
    std::vector<std::string> logs = {"system-logs", "xenserver-logs"};
    co_await send_bundle(exchange, call, adopt, std::move(logs), "tar.bz2");
}

}  // namespace

void add_status_routes(server::Router& router, server::HttpAuth& auth, Adopt adopt) {
    auth.add(router, server::http_action("get_audit_log"), send_audit_log);
    auth.add(
        router, server::http_action("get_system_status"),
        [adopt](Exchange& exchange, Call& call) { return send_status(exchange, call, adopt); });
    auth.add(router, server::http_action("get_host_logs_download"),
             [adopt](Exchange& exchange, Call& call) { return send_logs(exchange, call, adopt); });
}

}  // namespace basalt::transfer
