#include "xapi/domain/diagnostics.hpp"

#include <malloc.h>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

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

}  // namespace basalt::domain
