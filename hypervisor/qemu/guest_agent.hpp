#pragma once
#include <optional>
#include <string>

#include "base/real_loop.hpp"
#include "hypervisor/api/hypervisor.hpp"

/// qemu-guest-agent, over the socket of its virtio-serial channel. Each call is a connection of its
/// own, so that a guest which stops answering in the middle of a word harms nobody.
namespace basalt::hv::qemu {

/// What the agent says: version, os, hostname, networks by the MACs of `nics`. None: it does not
/// answer. A command that the guest has disabled leaves its part empty.
Task<std::optional<agent::GuestFacts>> ask_agent(RealLoop& loop, std::string socket,
                                                 std::vector<NicAttachment> nics);

/// Has the guest use so many of its virtual CPUs; whether it does.
Task<bool> use_vcpus(RealLoop& loop, std::string socket, std::int64_t count);
/// Whether the agent took the order to suspend the guest to its memory.
Task<bool> suspend_inside(RealLoop& loop, std::string socket);

/// Whether the agent took the order.
Task<bool> tell_agent(RealLoop& loop, std::string socket, GuestRequest what);

}  // namespace basalt::hv::qemu
