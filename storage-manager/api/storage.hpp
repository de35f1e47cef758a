#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "base/fd.hpp"
#include "storage-manager/api/driver.hpp"

/// What hostd knows of storage (`Storage`), and the three things a storage manager is made from:
/// drivers, the datapath of running guests, and transfers. Each has a real and a simulated form.
namespace basalt::sm {

/// Where a disk is served: an NBD export on a unix socket.
struct DiskServer {
    std::string socket;
    std::string name;
};

/// The storage of one host. All verbs: loop only, cancellable; one that throws has changed nothing
/// unless it says so. The ones named like a verb of the agent mean what verbs.toml says.
class Storage {
  public:
    virtual ~Storage() = default;

    /// First call after the start: attaches again what an earlier hostd had attached, and finds the
    /// disks that are still served. An SR that fails to attach is logged and tried again when used.
    virtual Task<void> adopt() = 0;

    virtual Task<std::vector<agent::SmFacts>> storage_drivers() = 0;
    virtual Task<std::string> sr_probe(agent::SrProbeArgs args) = 0;
    virtual Task<void> sr_create(agent::SrCreateArgs args) = 0;
    /// The SR need not be attached, but must have been on this host. Idempotent.
    virtual Task<void> sr_destroy(agent::SrDestroyArgs args) = 0;
    virtual Task<agent::SrInfo> sr_attach(agent::SrAttachArgs args) = 0;
    /// VDI_IN_USE while a disk of it is open.
    virtual Task<void> sr_detach(agent::SrDetachArgs args) = 0;
    virtual Task<agent::SrInfo> sr_stat(agent::SrStatArgs args) = 0;
    virtual Task<agent::SrContents> sr_scan(agent::SrScanArgs args) = 0;

    virtual Task<agent::VdiInfo> vdi_create(agent::VdiCreateArgs args) = 0;
    virtual Task<void> vdi_destroy(agent::VdiDestroyArgs args) = 0;
    virtual Task<agent::VdiInfo> vdi_snapshot(agent::VdiSnapshotArgs args) = 0;
    virtual Task<agent::VdiInfo> vdi_clone(agent::VdiCloneArgs args) = 0;
    virtual Task<agent::VdiInfo> vdi_revert(agent::VdiRevertArgs args) = 0;
    virtual Task<agent::VdiInfo> vdi_copy(agent::VdiCopyArgs args, rpc::Progress progress) = 0;
    virtual Task<agent::VdiInfo> vdi_resize(agent::VdiResizeArgs args) = 0;
    /// A connected NBD socket with the export "disk"; the disk is closed after the socket.
    virtual Task<UniqueFd> vdi_open(agent::VdiOpenArgs args) = 0;
    /// The socket first brings one line, `{"size":N}` or `{"error":["CODE",...]}`, then N bytes.
    /// Fewer bytes than that are a failure. A raw stream's line may say `"version":"HEX"` too:
    /// while that stays the same, so do the bytes (datapath/contents_version.hpp).
    virtual Task<UniqueFd> vdi_export(agent::VdiExportArgs args) = 0;
    /// VDI_NOT_SPARSE when a disk does not tell what it holds.
    virtual Task<std::string> vdi_changes(agent::VdiChangesArgs args) = 0;
    /// Write the stream to the socket, shut that direction down, then read one line: `{"ok":true}`
    /// once every byte is durable, or `{"error":["CODE",...]}`.
    virtual Task<UniqueFd> vdi_import(agent::VdiImportArgs args) = 0;

    /// For a VM's plan: serves its disk. Idempotent for the same (vm, device, disk). VDI_IN_USE
    /// when somebody else on this host writes to it.
    virtual Task<DiskServer> open_disk(std::string vm, agent::DiskSpec spec) = 0;
    /// Idempotent. The guest's device must be gone.
    virtual Task<void> close_disk(std::string vm, std::string device) = 0;
    virtual Task<void> close_all(std::string vm) = 0;
    /// VMs with a disk open: for reconciliation with the guests that run.
    [[nodiscard]] virtual std::vector<std::string> vms() const = 0;
};

/// Makes drivers of the kinds that this host has.
class Drivers {
  public:
    virtual ~Drivers() = default;

    struct Sr {
        std::string uuid;
        std::string type;
        DeviceConfig config;
    };

    virtual Task<std::vector<agent::SmFacts>> facts() = 0;
    /// SR_UNKNOWN_DRIVER. Nothing of the SR is touched yet.
    virtual Task<std::unique_ptr<Driver>> make(Sr sr) = 0;
    virtual Task<void> create(Sr sr) = 0;
    virtual Task<void> destroy(Sr sr) = 0;
    virtual Task<std::string> probe(std::string type, DeviceConfig config) = 0;
};

/// Serves the disks of running guests; the servers outlive hostd.
class Datapath {
  public:
    virtual ~Datapath() = default;

    struct Served {
        std::string vm;
        std::string device;
    };

    /// First call: what servers of an earlier hostd still serve.
    virtual Task<std::vector<Served>> adopt() = 0;
    /// Idempotent for (vm, device).
    virtual Task<DiskServer> open(std::string vm, std::string device, Attachment disk) = 0;
    /// Idempotent. Takes the export away from whoever uses it, after its last write is on the disk.
    virtual Task<void> close(std::string vm, std::string device) = 0;
    virtual Task<void> close_all(std::string vm) = 0;
    /// From the next write on the disk goes to `leaf`, whose content is so far that of the old
    /// leaf. Answers with the reason when the server refused: then nothing has changed. When it
    /// throws, whether the disk was switched is not known.
    virtual Task<std::optional<ApiError>> switch_leaf(std::string vm, std::string device,
                                                      Image leaf) = 0;
    virtual Task<void> resize(std::string vm, std::string device, std::int64_t size_bytes) = 0;
};

/// Moves whole disks.
class Transfer {
  public:
    virtual ~Transfer() = default;
    /// Called once, on the loop, when the transfer is over, however it ended; also when the verb
    /// itself throws.
    using Ended = std::function<void()>;

    struct Disk {
        Attachment attachment;
        std::string vdi;
        std::int64_t size_bytes = 0;
    };

    /// A disk on its way out.
    struct Sent {
        Disk disk;
        /// Only what may differ from this one is sent; formats vhd and qcow2.
        std::optional<Disk> base{};
        std::string format;  ///< raw, qcow2, vhd
    };

    struct Copy {
        Attachment from;
        Attachment to;
        /// Only what may differ between this and `from` is written.
        std::optional<Attachment> base;
        /// `to` is fresh: zeros need not be written.
        bool to_empty = false;
    };

    /// A part of a disk.
    struct Window {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
    };

    /// Where within the window the two may differ, as verbs.toml says it of vdi_changes.
    virtual Task<std::string> changes(Attachment disk, Attachment base, Window window) = 0;
    /// Makes the first bytes of `to`, which is at least as large, those of `from`; durable when it
    /// returns. VDI_IN_USE, SR_BACKEND_FAILURE_44.
    virtual Task<void> copy(Copy what, rpc::Progress progress) = 0;
    virtual Task<UniqueFd> serve(Attachment disk, Ended ended) = 0;
    /// VDI_TOO_LARGE for the format; INVALID_VALUE for a base that it cannot have.
    virtual Task<UniqueFd> send(Sent what, Ended ended) = 0;
    /// Formats raw, qcow2, vhd. A differencing image is written over what the disk holds.
    virtual Task<UniqueFd> receive(Disk disk, std::string format, Ended ended) = 0;
};

/// What the manager must still know after a restart: one JSON text, replaced as a whole.
class StateStore {
  public:
    virtual ~StateStore() = default;
    virtual Task<std::string> load() = 0;  // empty: none yet
    virtual Task<void> save(std::string text) = 0;
};

}  // namespace basalt::sm
