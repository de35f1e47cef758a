#pragma once
#include <cstdint>
#include <map>

#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vm_metrics.hpp"
#include "xapi/db/database.hpp"

namespace basalt::domain {

/// Bytes of its host that a VM holds, without the overhead: what it was given or, if that is more,
/// what it has not given back yet. `metrics` may be null.
std::int64_t memory_held_bytes(const xenapi::Vm& vm, const xenapi::VmMetrics* metrics);

/// What the VMs on each host, and those on their way to it, hold of its memory. Costs as much as
/// has changed since it was last asked, not as much as there are VMs: each start asks. Loop only.
class MemoryLedger {
  public:
    /// Bytes, overheads included.
    struct Use {
        std::int64_t held = 0;
        /// If each had all that it may have.
        std::int64_t wanted = 0;
    };

    explicit MemoryLedger(const db::Database& db) : db_(db) {}

    /// As committed: the edits of a transaction that is under way do not count.
    [[nodiscard]] Use of(xenapi::Ref<xenapi::Host> host);
    /// Looks at what has changed, so that who asks next need not look at much.
    void catch_up();

  private:
    struct Entry {
        xenapi::Ref<xenapi::VmMetrics> metrics;
        xenapi::Ref<xenapi::Host> on;
        xenapi::Ref<xenapi::Host> on_its_way_to;
        Use use;
    };

    void enter(xenapi::Ref<xenapi::Vm> ref, const xenapi::Vm& vm);
    void forget(xenapi::Ref<xenapi::Vm> ref);
    void count(const Entry& entry, std::int64_t sign);

    const db::Database& db_;
    db::Generation seen_ = 0;
    std::map<xenapi::Ref<xenapi::Vm>, Entry> entries_;  // of VMs that count somewhere
    std::map<xenapi::Ref<xenapi::VmMetrics>, xenapi::Ref<xenapi::Vm>> owners_;
    std::map<xenapi::Ref<xenapi::Host>, Use> uses_;
};

}  // namespace basalt::domain
