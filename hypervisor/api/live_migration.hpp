#pragma once
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

namespace basalt::hv {

/// An ability of a Hypervisor: a guest goes to another host while it runs. One side sends, the
/// other one restores (`Hypervisor::restore`) from the other end of the same stream: the guest is
/// there then, paused, with the disks and NICs of the config that the restore was given. Who moves
/// it destroys the domain that sent and lets the new one run, in this order; or, when the other
/// side fails, destroys that and has the sender go on (`Hypervisor::set_running`). Loop only.
class LiveMigration {
  public:
    virtual ~LiveMigration() = default;

    /// Guests of which the hypervisor can follow what they write, as VM.domain_type names them:
    /// hvm, pv, pvh. Those of other kinds move only while they stand still.
    virtual Task<std::vector<std::string>> movable_kinds() = 0;

    /// Writes the running guest's memory into a connected socket or a pipe, again and again as the
    /// guest changes it, until little is left; then, like `Hypervisor::save`, stops it and writes
    /// the rest. When it returns the domain stands still and is kept, also beyond a restart of
    /// hostd. On failure or cancel the guest runs on. OPERATION_NOT_ALLOWED for a guest that is
    /// paused, or of a kind that cannot move.
    virtual Task<void> send(DomId dom, UniqueFd sink, Progress progress) = 0;
};

}  // namespace basalt::hv
