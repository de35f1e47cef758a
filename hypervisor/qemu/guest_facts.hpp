#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

/// From a guest agent's words to XenAPI's keys; pure.
namespace basalt::hv::qemu {

/// name, distro, major, minor, uname, from guest-get-osinfo. Unknown parts are left out.
std::map<std::string, std::string> os_version(const nlohmann::json& osinfo);

/// What the guest can be asked for, as keys of VM_guest_metrics.other with the value 1, from
/// guest-info: an agent that shuts down does so for power-off and reboot alike.
std::map<std::string, std::string> guest_features(const nlohmann::json& info);

/// `0/ip`, `0/ipv4/0`, `0/ipv6/0` ..., from guest-network-get-interfaces: an interface belongs to
/// the NIC with its MAC. Others (loopback, bridges inside the guest) are left out.
std::map<std::string, std::string> guest_networks(const nlohmann::json& interfaces,
                                                  const std::vector<NicAttachment>& nics);

/// Whether xapi should hear: free memory alone must move by a twentieth of the total.
bool worth_telling(const agent::GuestFacts& before, const agent::GuestFacts& now);

/// What `guest-set-vcpus` takes so that `count` of those that `guest-get-vcpus` told are in use:
/// only what changes. Empty when that cannot be had.
std::optional<nlohmann::json> vcpus_to_set(const nlohmann::json& vcpus, std::int64_t count);

}  // namespace basalt::hv::qemu
