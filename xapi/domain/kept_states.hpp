#pragma once
#include <memory>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "base/wait.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Keeps the records and the hosts agreed on what machines of VMs remember while they are off, such
/// as the contents of a TPM. A host keeps what a guest wrote, the records what the VM takes along.
/// Each side notes what it last had from the other (`tag`): what a host has newer lands here,
/// unless the records have been changed since; then they win, when the VM starts next. Loop only.
class KeptStates {
  public:
    explicit KeptStates(core::Core& core) : core_(core), turns_(core.loop) {}

    /// Before the VM starts on that host: both have the same afterwards. Throws what the host
    /// throws.
    Task<void> bring(xenapi::Ref<xenapi::Vm> vm, xenapi::Ref<xenapi::Host> host);
    /// Before the records are read: what the guest has written so far is in them, as far as its
    /// host answers.
    Task<void> collect(xenapi::Ref<xenapi::Vm> vm);

    /// The VM no more has what remembered it. Hosts that are away are not asked.
    Task<void> forget(std::string vm_uuid, agent::StateKind kind);

    void on_state(xenapi::Ref<xenapi::Host> host, const agent::StateRef& state);
    /// Start of day of a host: its guests may have written while nobody listened.
    Task<void> host_appeared(agent::Host& agent);

    Task<void> stop();

  private:
    struct Sync {
        xenapi::Ref<xenapi::Vm> vm;
        agent::StateKind kind;
        xenapi::Ref<xenapi::Host> host;
        bool may_give = false;  ///< it has no domain, so the host takes what the records have
    };

    Task<void> sync(Sync what);
    Task<void> sync_with(agent::Host& agent, Sync what);
    Task<void> sync_or_log(Sync what);

    core::Core& core_;
    ObjectQueue turns_;  // by VM
    std::vector<std::shared_ptr<Job>> jobs_;
};

/// What a host is told that has these contents from the records (KeptState.tag).
std::string kept_tag(const std::string& contents);

/// The variables of the VM's firmware as the records have them, as KeptState.contents: in VM.NVRAM,
/// under keys of its own, for other servers keep other texts there. Empty: none yet.
std::string kept_variables(const xenapi::Vm& vm);
void set_kept_variables(xenapi::Vm& vm, std::string contents);

}  // namespace basalt::domain
