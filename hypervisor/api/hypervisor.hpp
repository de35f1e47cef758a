#pragma once
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent_values.hpp"
#include "base/fd.hpp"
#include "base/wait.hpp"

/// What a host needs from a hypervisor. Implemented by qemu/, xen/ and sim/; one contract suite
/// runs on all.
namespace basalt::hv {

using DomId = std::int64_t;
using Progress = std::function<void(double)>;

/// Where the guest's disk is served: an NBD export on a unix socket (made by the storage datapath).
struct DiskAttachment {
    agent::DiskSpec spec;
    std::string nbd_socket;  // empty: an empty drive
    std::string nbd_export;
    bool operator==(const DiskAttachment&) const = default;
};

/// The port of a bridge that stands for a NIC; made by the network manager, before `create`.
struct NicAttachment {
    agent::NicSpec spec;
    std::string tap;  // name of the interface to open
    bool operator==(const NicAttachment&) const = default;
};

/// A USB device of the host, and the file by which it is opened.
struct UsbAttachment {
    agent::UsbSpec spec;
    std::string node;
    bool operator==(const UsbAttachment&) const = default;
};

/// Everything a domain is made from; serialisable, so that hostd can journal it.
struct DomainConfig {
    agent::VmSpec spec;
    std::vector<DiskAttachment> disks;
    std::vector<NicAttachment> nics;
    std::vector<UsbAttachment> usbs;  // none where a Hypervisor is no UsbPassthrough
    bool operator==(const DomainConfig&) const = default;
};

void to_json(nlohmann::json& json, const DiskAttachment& value);
void from_json(const nlohmann::json& json, DiskAttachment& value);
void to_json(nlohmann::json& json, const NicAttachment& value);
void from_json(const nlohmann::json& json, NicAttachment& value);
void to_json(nlohmann::json& json, const UsbAttachment& value);
void from_json(const nlohmann::json& json, UsbAttachment& value);
void to_json(nlohmann::json& json, const DomainConfig& value);
void from_json(const nlohmann::json& json, DomainConfig& value);

enum class GuestRequest : std::uint8_t { shutdown, reboot };

/// What happens by itself: nothing here answers a verb of ours, `destroy` least of all.
/// hostd reports it; xapi decides what it means. Loop only; must outlive the hypervisor.
class Events {
  public:
    virtual ~Events() = default;
    /// The domain is gone; its process too. shutdown, reboot (its spec asks for an end then) or
    /// crashed.
    virtual void ended(DomId dom, std::string vm_uuid, agent::HaltReason reason) = 0;
    /// The guest restarted itself inside the same domain; also after a crash that its spec answers
    /// with a restart.
    virtual void rebooted(DomId dom, std::string vm_uuid) = 0;

    /// The guest halted or crashed and its spec asks to preserve it: the domain stays, paused.
    virtual void preserved(DomId /*dom*/, std::string /*vm_uuid*/, agent::HaltReason /*reason*/) {}

    virtual void guest_changed(agent::GuestFacts facts) = 0;

    /// The guest's balloon has moved: `domains` tells how much memory it has now.
    virtual void memory_moved(std::string /*vm_uuid*/, std::int64_t /*actual_bytes*/) {}

    /// The guest wrote what is kept of it while it is off. Of one that ends: before `ended`.
    virtual void state_changed(agent::StateRef /*state*/) {}
};

/// All verbs: loop only, cancellable unless said otherwise; one that throws has changed nothing.
class Hypervisor {
  public:
    virtual ~Hypervisor() = default;

    /// First call, once: finds what runs already (started by an earlier hostd) and watches it
    /// again. What ended meanwhile is cleaned away and told by `ended` before this returns; a
    /// `create` that an earlier hostd left half done is undone.
    virtual Task<std::vector<agent::DomainInfo>> adopt(Events& events) = 0;
    [[nodiscard]] virtual std::vector<agent::DomainInfo> domains() const = 0;

    /// The one of that VM. What has hundreds of domains overrides it.
    [[nodiscard]] virtual std::optional<agent::DomainInfo> domain(const std::string& vm) const {
        for (agent::DomainInfo& info : domains())
            if (info.uuid == vm) return std::move(info);
        return std::nullopt;
    }

    /// Builds the domain and leaves it paused. A domid is never used twice between two boots of the
    /// host. Throws DOMAIN_EXISTS [vm, domid], or INTERNAL_ERROR with the native text.
    virtual Task<DomId> create(DomainConfig config, Progress progress) = 0;
    /// As `create`, from what `save` wrote: the same disks and NICs, wherever they are served now.
    virtual Task<DomId> restore(DomainConfig config, UniqueFd source, Progress progress) = 0;
    virtual Task<void> set_running(DomId dom, bool running) = 0;
    /// Asks the guest; never waits for it.
    virtual Task<void> request(DomId dom, GuestRequest what) = 0;
    /// Resets the machine at once, in place.
    virtual Task<void> reset(DomId dom) = 0;
    /// Ends the domain at once. Idempotent; when it returns, no process of it is left.
    virtual Task<void> destroy(DomId dom) = 0;
    /// Pauses the domain and writes memory and device state from the sink's position (a file, a
    /// pipe or a socket); the domain may then be destroyed, or run on by `set_running`. On failure
    /// or cancel it runs on.
    virtual Task<void> save(DomId dom, UniqueFd sink, Progress progress) = 0;

    /// Idempotent by device name or number; so are the two unplug verbs. A running guest has free
    /// places for disks and NICs, but CD drives come and go only with the domain
    /// (OPERATION_NOT_ALLOWED).
    virtual Task<void> plug_disk(DomId dom, DiskAttachment disk) = 0;
    /// Without `force` waits for the guest to let go: DEVICE_DETACH_REJECTED,
    /// DEVICE_DETACH_TIMEOUT.
    virtual Task<void> unplug_disk(DomId dom, std::string device, bool force) = 0;
    /// Changes the medium of a CD drive; an empty nbd_socket ejects.
    virtual Task<void> change_medium(DomId dom, DiskAttachment disk) = 0;
    virtual Task<void> plug_nic(DomId dom, NicAttachment nic) = 0;
    virtual Task<void> unplug_nic(DomId dom, std::int64_t device, bool force) = 0;
    /// The disk grew or shrank; tell the guest.
    virtual Task<void> disk_resized(DomId dom, std::string device, std::int64_t size_bytes) = 0;

    /// Takes away what it keeps of a VM without a domain. Idempotent.
    virtual Task<void> purge(std::string /*vm_uuid*/) { co_return; }

    /// A connected socket: the serial console's bytes, or RFB.
    virtual Task<UniqueFd> open_console(DomId dom, agent::ConsoleKind kind) = 0;

    /// Hypervisor part of the host's facts: name, version, whether guests run accelerated.
    struct Facts {
        std::string name;
        std::string version;
        bool accelerated = false;
    };

    virtual Task<Facts> facts() = 0;
};

}  // namespace basalt::hv
