#pragma once
#include "base/real_loop.hpp"
#include "storage-manager/api/driver.hpp"
#include "storage-manager/drivers/iso/nfs_share.hpp"

namespace basalt::sm {

/// The *.iso and *.img files of a folder on an NFS server, as read-only disks. Nothing is mounted
/// and nothing kept open: each verb asks the server anew, and whoever has a disk open reads it by
/// himself. Deadlines are those of nfs_share.hpp.
class NfsIsoDriver final : public Driver {
  public:
    NfsIsoDriver(RealLoop& loop, std::string sr_uuid, NfsShare share);

    Task<agent::SrInfo> attach() override;
    Task<void> detach() override;
    Task<agent::SrContents> scan() override;
    Task<agent::VdiInfo> stat(Location vdi) override;
    /// SR_OPERATION_NOT_SUPPORTED, as `destroy` of a file that is there.
    Task<agent::VdiInfo> create(agent::VdiSpec spec) override;
    Task<void> destroy(Location vdi) override;
    /// For reading, whatever is asked for.
    Task<Attachment> open(Location vdi, agent::Access access) override;
    Task<void> close(Location vdi) override;

  private:
    RealLoop& loop_;
    std::string sr_uuid_;
    NfsShare share_;
};

}  // namespace basalt::sm
