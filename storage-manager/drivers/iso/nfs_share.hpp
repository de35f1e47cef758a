#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "storage-manager/api/driver.hpp"

/// A folder of an NFS server, looked at in user space (libnfs, NFS 3): a server that does not
/// answer costs a deadline, never a process that cannot be killed. Everything blocks.
namespace basalt::sm {

struct NfsShare {
    std::string server;  // a name or an IPv4 address
    std::string path;    // absolute
    bool operator==(const NfsShare&) const = default;
};

/// Whether an SR of type iso lies on an NFS server: `type` says so, or its location does.
[[nodiscard]] bool is_nfs(const DeviceConfig& config);

/// From `location` (SERVER:/PATH), `nfsversion` and `options`. Throws SR_BACKEND_FAILURE_220
/// (no location), _225 (none of that form), _1 (a version or an option that is not to be had here).
[[nodiscard]] NfsShare share_of(const DeviceConfig& config);

struct NfsFile {
    std::string name;
    std::int64_t size_bytes = 0;
    std::int64_t used_bytes = 0;
};

struct NfsListing {
    std::int64_t size_bytes = 0;  // of the server's file system
    std::int64_t used_bytes = 0;
    std::vector<NfsFile> files;  // by name; also those that a link leads to
};

/// The share's address; names are looked up here, because those who open its files cannot.
/// Throws SR_BACKEND_FAILURE_222.
[[nodiscard]] std::string address_of(const NfsShare& share);

/// The files whose name `wanted` takes. Throws SR_BACKEND_FAILURE_222 (it cannot be mounted),
/// SR_BACKEND_FAILURE_40 (mounted, but not listed).
[[nodiscard]] NfsListing list_share(const NfsShare& share, bool (*wanted)(const std::string&));

/// What a server exports, as XML that clients of SR.probe know. Throws SR_BACKEND_FAILURE_222.
[[nodiscard]] std::string exports_of(const NfsShare& share);

}  // namespace basalt::sm
