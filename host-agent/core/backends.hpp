#pragma once
#include <functional>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "host-agent/core/machine.hpp"
#include "host-agent/metrics/gauges.hpp"
#include "host-agent/metrics/keeper.hpp"
#include "hypervisor/api/hypervisor.hpp"
#include "network-manager/api/network.hpp"
#include "storage-manager/api/storage.hpp"

/// What hostd is put together from; main.cpp and sim/ name the concrete ones.
namespace basalt::agent {

/// The rest of a host: who it is, who may log in, what scripts it has.
class Services {
  public:
    virtual ~Services() = default;
    /// All but what the backends know (hypervisor, network).
    virtual Task<HostFacts> facts() = 0;
    virtual Task<void> login(LoginArgs args) = 0;
    virtual Task<void> change_password(ChangePasswordArgs args) = 0;
    virtual Task<std::string> plugin_call(PluginCallArgs args) = 0;
    virtual Task<bool> has_extension(std::string name) = 0;
    /// MESSAGE_METHOD_UNKNOWN [name], EXTENSION_PROTOCOL_FAILURE [output], or what the script says.
    virtual Task<std::string> extension_call(ExtensionCallArgs args) = 0;
    virtual Machine& machine() = 0;
    virtual Task<HostTime> time() = 0;
    /// The terminal of a login on this host; the login ends when the descriptor is closed.
    virtual Task<UniqueFd> open_console() = 0;
};

/// A byte stream kept in a disk: the image of a suspended guest.
class Images {
  public:
    virtual ~Images() = default;
    using Use = std::function<Task<void>(UniqueFd)>;

    /// Gives `fill` a socket to write to. When this returns, all of it is in the disk, durably;
    /// when it throws, the disk holds no image.
    virtual Task<void> store(hv::DiskAttachment disk, Use fill) = 0;
    /// Gives `drain` a socket to read what was stored from. VM_HAS_NO_SUSPEND_VDI if there is no
    /// image.
    virtual Task<void> load(hv::DiskAttachment disk, Use drain) = 0;
};

class Guard;

struct Backends {
    hv::Hypervisor& hypervisor;
    sm::Storage& storage;
    nm::Network& network;
    Services& services;
    Images& images;
    /// Looks at what xapi asks for before anything else does. Null in simulations, whose names are
    /// made up.
    const Guard* guard = nullptr;
    /// Null: nothing is measured, as in simulations of many hosts.
    Gauges* gauges = nullptr;
    MetricsFolders metrics_folders{};
};

/// The interface that stands for a VIF on this host: at most 15 characters, the same each time.
std::string tap_name(const NicSpec& nic);

}  // namespace basalt::agent
