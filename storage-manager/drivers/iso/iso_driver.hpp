#pragma once
#include <filesystem>
#include <map>

#include "base/real_loop.hpp"
#include "storage-manager/api/driver.hpp"

namespace basalt::sm {

/// An SR that shows the *.iso and *.img files of a local folder as read-only disks. A file's uuid
/// follows from the SR and the file's name, so it is the same at every scan and after a restart.
/// `create` makes an empty, writable file (an upload in the making): it is a CD like the others
/// from the next attach on.
class IsoDriver final : public Driver {
  public:
    IsoDriver(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder);

    Task<agent::SrInfo> attach() override;
    Task<void> detach() override;
    Task<agent::SrContents> scan() override;
    Task<agent::VdiInfo> stat(Location vdi) override;
    Task<agent::VdiInfo> create(agent::VdiSpec spec) override;
    Task<void> destroy(Location vdi) override;
    Task<Attachment> open(Location vdi, agent::Access access) override;
    Task<void> close(Location vdi) override;

  private:
    /// A location is a file name of the folder, or a uuid that `scan` gave.
    Task<agent::VdiInfo> find(Location vdi);

    RealLoop& loop_;
    std::string sr_uuid_;
    std::filesystem::path folder_;
};

/// `iso` (device_config location, legacy_mode): a local folder; or (type, nfsversion, options) one
/// of an NFS server, see nfs_iso_driver.hpp.
Kind iso_kind(RealLoop& loop);

}  // namespace basalt::sm
