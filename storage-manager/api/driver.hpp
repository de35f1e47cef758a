#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent_values.hpp"
#include "base/async.hpp"
#include "base/error.hpp"

/// What a kind of storage repository must do. A driver runs in a worker process of its own, one an
/// SR; every argument and answer is serialisable, so that the same calls pass through the worker's
/// channel.
namespace basalt::sm {

using DeviceConfig = std::map<std::string, std::string>;
using Location = std::string;

/// How the datapath opens a disk: the nodes of its chain, from the image the guest writes to down
/// to the base.
struct Image {
    /// A file or a block device; or nfs://ADDRESS/PATH, all of it literal, to be read only.
    std::string path;
    std::string format;  // qcow2, raw, vpc
};

struct Attachment {
    std::vector<Image> chain;  // never empty; the first is the leaf
    bool read_only = false;
};

class Snapshots;
class Resizer;

/// The numbers behind SR_BACKEND_FAILURE_n that clients of this API know.
enum class Failure : std::uint16_t {
    invalid_argument = 1,
    sr_in_use = 16,
    locked = 37,
    sr_not_empty = 39,
    scan_failed = 40,
    sr_exists = 42,
    vdi_exists = 43,
    no_space = 44,
    vdi_unavailable = 46,
    sr_unavailable = 47,
    unknown_type = 48,
    sr_create_failed = 61,
    sr_delete_failed = 63,
    vdi_remove_failed = 64,
    vdi_create_failed = 78,
    vdi_size = 79,
    clone_failed = 81,
    snapshot_failed = 82,
    device_missing = 90,
    device_invalid = 91,
    location_missing = 94,
    chain_too_long = 109,
    iso_location_missing = 220,
    iso_extension = 221,
    mount_failed = 222,
    iso_location_form = 225,
    iso_local_path = 226,
};

/// SR_BACKEND_FAILURE_n ["", what it means [opterr=detail], ""].
[[nodiscard]] ApiError backend_failure(Failure what, const std::string& detail = {});

/// `text` when it is a uuid in its printed form; anything else (a path, say) throws
/// SR_BACKEND_FAILURE_46.
std::string checked_uuid(const std::string& text);

/// `text` when it is an absolute path without `..`, empty parts or control characters; otherwise
/// throws SR_BACKEND_FAILURE_`missing`.
std::string checked_path(const std::string& text, Failure missing);

/// Throws SR_BACKEND_FAILURE_n, SR_FULL, VDI_IN_USE ... and has then changed nothing. A name that
/// comes from outside (location, uuid) is never taken for a path.
class Driver {
  public:
    virtual ~Driver() = default;

    /// Home verbs: only the SR's home host calls them, one at a time for each disk.
    virtual Task<agent::SrInfo> attach() = 0;  // idempotent; mounts, activates, takes locks
    virtual Task<void> detach() = 0;           // idempotent
    virtual Task<agent::SrContents> scan() = 0;
    virtual Task<agent::VdiInfo> stat(Location vdi) = 0;
    virtual Task<agent::VdiInfo> create(agent::VdiSpec spec) = 0;
    virtual Task<void> destroy(Location vdi) = 0;  // idempotent: absent is success

    /// User-host verbs: the host where the guest runs. `open` is idempotent for (vdi, access).
    virtual Task<Attachment> open(Location vdi, agent::Access access) = 0;
    virtual Task<void> close(Location vdi) = 0;

    /// Optional abilities; null when the driver lacks one.
    virtual Snapshots* snapshots() { return nullptr; }

    virtual Resizer* resizer() { return nullptr; }
};

/// A snapshot in two steps, because the chain of an open disk may only be changed by the host that
/// has it open: prepare makes the files, the datapath switches, commit makes it last (or abort
/// takes the files back).
class Snapshots {
  public:
    virtual ~Snapshots() = default;

    struct Prepared {
        agent::VdiInfo snapshot;  // the VDI that stands for the old content
        Image leaf;               // what the disk writes to from now on
        std::string token;        // for commit and abort
    };

    virtual Task<Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec) = 0;
    /// Only after the disk's writer has switched to the new leaf. Idempotent.
    virtual Task<agent::VdiInfo> snapshot_commit(std::string token) = 0;
    /// Only when no writer can have switched: then the old leaf is the disk's again. Idempotent.
    /// When that is not known, call neither: the new leaf is empty, so that either way is right.
    virtual Task<void> snapshot_abort(std::string token) = 0;
    /// A new writable disk with the content of `vdi`, which nobody has open for writing.
    virtual Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec) = 0;
    /// The disk, which is closed, gets the content and size of `snapshot`, which stays as it is
    /// and which nobody has open for writing. Its name and settings stay. Idempotent.
    virtual Task<agent::VdiInfo> revert(Location vdi, Location snapshot) = 0;
};

class Resizer {
  public:
    virtual ~Resizer() = default;
    /// Closed disks only; an open one is resized by the datapath, and `stat` then knows.
    /// Shrinking is refused with SR_BACKEND_FAILURE_79.
    virtual Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes) = 0;
};

/// Everything about a kind of driver that needs no SR: registered by name in the worker's main.
struct Kind {
    agent::SmFacts facts;
    std::function<std::unique_ptr<Driver>(std::string sr_uuid, DeviceConfig config)> make;
    /// Makes an empty SR where `config` points (formats it); SR_BACKEND_FAILURE_n when it cannot.
    std::function<Task<void>(std::string sr_uuid, DeviceConfig config)> create;
    /// Removes what `create` made.
    std::function<Task<void>(std::string sr_uuid, DeviceConfig config)> destroy;
    /// XML that lists what is there, as clients of SR.probe expect.
    std::function<Task<std::string>(DeviceConfig config)> probe;
};

}  // namespace basalt::sm
