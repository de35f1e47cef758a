#pragma once
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

namespace basalt::hv {

/// What the machine of a VM remembers while it is off, of one kind.
struct KeptBytes {
    std::string bytes;     ///< as the guest's machine wrote them; empty: nothing yet
    std::string tag;       ///< that came with `write_state` or `note_told` last; empty: none did
    bool changed = false;  ///< since then
};

/// An ability of a Hypervisor: it keeps what machines remember (the firmware's variables, the
/// contents of a TPM) on this host, durably, until `purge`. Loop only. `Events::state_changed`
/// tells of changes, at the latest when the domain ends.
class StateKeeper {
  public:
    virtual ~StateKeeper() = default;

    /// Variables that no guest has written yet are those that new machines get.
    virtual Task<KeptBytes> read_state(std::string vm_uuid, agent::StateKind kind) = 0;
    /// Replaces them; no bytes: as if there had never been any. DOMAIN_EXISTS [vm, domid].
    virtual Task<void> write_state(std::string vm_uuid, agent::StateKind kind, KeptBytes state) = 0;
    /// `digest` is the SHA-256 in hex of bytes that were read. What came after stays changed.
    virtual Task<void> note_told(std::string vm_uuid, agent::StateKind kind, std::string digest,
                                 std::string tag) = 0;
    virtual Task<std::vector<agent::StateRef>> changed_states() = 0;
};

}  // namespace basalt::hv
