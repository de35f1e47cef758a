#include "xapi/domain/diagnostics.hpp"

#include <malloc.h>

#include <algorithm>
#include <ranges>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// Whether `word` is one of the words of `list`, which commas part.
bool is_listed(std::string_view list, std::string_view word) {
    return std::ranges::any_of(std::views::split(list, ','), [&](const auto& one) {
        return std::string_view(one.begin(), one.end()) == word;
    });
}

}  // namespace

Task<Map<std::string, std::string>> DiagnosticsDomain::db_stats(Call& call) {
    Map<std::string, std::string> out;
    std::size_t rows = 0;
    for (const ClassInfo& cls : classes()) {
        const std::size_t count = call.db().count(cls);
        if (count > 0) out.insert_or_assign("rows_" + std::string(cls.name), std::to_string(count));
        rows += count;
    }
    out.insert_or_assign("rows", std::to_string(rows));
    out.insert_or_assign("generation", std::to_string(call.db().published()));
    out.insert_or_assign("epoch", std::to_string(call.db().epoch()));
    co_return out;
}

Task<Map<std::string, std::string>> DiagnosticsDomain::gc_stats(Call& call,
                                                                DiagnosticsGcStats params) {
    (void)call.db().get(params.host);
    const struct mallinfo2 heap = mallinfo2();
    co_return Map<std::string, std::string>{{"heap_bytes", std::to_string(heap.arena)},
                                            {"mapped_bytes", std::to_string(heap.hblkhd)},
                                            {"used_bytes", std::to_string(heap.uordblks)},
                                            {"free_bytes", std::to_string(heap.fordblks)},
                                            {"releasable_bytes", std::to_string(heap.keepcost)}};
}

Task<void> DiagnosticsDomain::gc_compact(Call& call, DiagnosticsGcCompact params) {
    (void)call.db().get(params.host);
    // It walks the whole heap: other calls go on.
    co_await blocking(core_.loop, [] { malloc_trim(0); });
}

// Another host's server is another process, which counts for itself.
Task<std::vector<std::vector<std::string>>> DiagnosticsDomain::network_stats(
    Call& call, DiagnosticsNetworkStats params) {
    (void)call.db().get(params.host);
    if (params.host != core_.this_host)
        throw err::not_implemented(std::string(call.message().wire_name) + " of a member");
    const auto asked = [&](const char* key) { return params.params.get(std::string(key)); };
    const std::string columns = asked("params");
    const auto is_chosen = [&](const char* filter, const std::string& value) {
        return asked(filter).empty() || asked(filter) == value;
    };
    std::vector<std::vector<std::string>> out;
    for (const RequestCount& count : counts_()) {
        if (count.requests == 0 || !is_chosen("method", count.method) ||
            !is_chosen("uri", count.uri))
            continue;
        std::vector<std::string> row;
        const auto add = [&](std::string_view column, std::string value) {
            if (columns.empty() || is_listed(columns, column)) row.push_back(std::move(value));
        };
        add("method", count.method);
        add("uri", count.uri);
        add("requests", std::to_string(count.requests));
        out.push_back(std::move(row));
    }
    co_return out;
}

}  // namespace basalt::domain
