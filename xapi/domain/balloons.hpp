#pragma once
#include <memory>
#include <set>
#include <vector>

#include "agent_verbs.hpp"
#include "idl/records/host.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/memory_ledger.hpp"

namespace basalt::domain {

/// MemoryLedger's, of a row with its metrics.
std::int64_t memory_held_bytes(const db::Txn& txn, const xenapi::Vm& vm);
/// Whether the running guest has a balloon that moves: its driver has spoken.
[[nodiscard]] bool can_balloon(const db::Txn& txn, const xenapi::Vm& vm);
/// Whether the guest has given back what it was asked for; true of one that is off.
[[nodiscard]] bool is_cooperative(const db::Txn& txn, const xenapi::Vm& vm);

/// Shares each host's memory among its guests by their balloons (rules/memory_share.hpp): squeezes
/// them when a start needs room, and gives back what is free again. Loop only.
class Balloons {
  public:
    Balloons(core::Core& core, MemoryLedger& memory) : core_(core), memory_(memory) {}

    struct Target {
        xenapi::Ref<xenapi::Vm> vm;
        std::int64_t bytes = 0;
    };

    /// Who must give up how much.
    using Room = std::vector<Target>;

    /// In the transaction that promises the host to the VM: decides what it is given
    /// (`memory_target`), and who makes room for it.
    Room make_room(db::Txn& txn, xenapi::Ref<xenapi::Host> host, xenapi::Ref<xenapi::Vm> vm);
    /// Asks for the room and waits until it is there; HOST_NOT_ENOUGH_FREE_MEMORY when guests keep
    /// what they have. What was squeezed in vain is given back by the next balance.
    Task<void> await_room(Call& call, xenapi::Ref<xenapi::Host> host, Room room);
    /// Gives every guest of the host its share, without waiting for it.
    Task<void> balance(xenapi::Ref<xenapi::Host> host);
    /// All hosts, every few seconds; runs until cancelled.
    Task<void> balance_forever();

  private:
    Task<std::set<xenapi::Ref<xenapi::Host>>> uneven_hosts();
    Task<void> tell(agent::Host& agent, agent::Operation operation, Target target);

    core::Core& core_;
    MemoryLedger& memory_;
};

}  // namespace basalt::domain
