#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"
#include "hypervisor/api/whole_machine.hpp"
#include "hypervisor/xen/domain_config.hpp"

/// What this backend asks of libxl, one function a question. All of these block, and throw
/// INTERNAL_ERROR with the library's words: call them off the loop.
namespace basalt::hv::xen {

/// Builds the domain, paused. Throws VM_HVM_REQUIRED and HOST_NOT_ENOUGH_FREE_MEMORY before
/// anything is made. What fails later is taken away again: DOMAIN_BUILDER_ERROR, whose message has
/// the library's words.
DomId create_domain(const DomainConfig& config, const Sources& from);
DomId restore_domain(const DomainConfig& config, const Sources& from, int source);
/// Idempotent.
void destroy_domain(DomId dom);
void destroy_domain_of(const std::string& uuid);
/// Idempotent; Xen itself counts, and lets a guest run after as many unpauses as there were pauses.
void set_domain_running(DomId dom, bool running);
/// How a guest was asked.
enum class Asked : std::uint8_t { by_store, by_power_button };
/// Asks by the store, and a guest without Xen's drivers by its power button, which knows no reboot;
/// one that does not listen does nothing.
Asked ask_domain(DomId dom, GuestRequest what);
enum class Saving : std::uint8_t { stopped, live };
/// Leaves the domain stopped; on failure it runs on. Live: OPERATION_NOT_ALLOWED for a paravirtual
/// guest where Xen was built without shadow page tables.
void save_domain(DomId dom, int sink, Saving how);
/// A domain that was saved runs on as if it had not been.
void resume_domain(DomId dom);
/// Guests whose writes this Xen can follow, as VM.domain_type names them.
std::vector<std::string> movable_kinds();

/// What Xen gives each domain now, in bytes.
std::map<DomId, std::int64_t> memory_of_domains();

/// Nullopt when there is none, or it is about to be gone.
struct DomainState {
    std::string uuid;
    bool paused = false;
    /// The guest has stopped and its domain waits to be destroyed.
    std::optional<agent::HaltReason> halted;
};

std::optional<DomainState> domain_state(DomId dom);

/// The path of the terminal at which xenconsoled serves the domain's console, or the device model
/// its serial line; empty while it has not come to that.
std::string domain_console(DomId dom, const agent::BootSpec& boot);

Hypervisor::Facts read_facts();
WholeMachine read_machine();

}  // namespace basalt::hv::xen
