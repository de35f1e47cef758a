#pragma once
#include "base/real_net.hpp"
#include "host-agent/core/backends.hpp"

namespace basalt::agent {

/// Suspend images in disks served by NBD. Layout: a block of 4096 bytes that begins with
/// "BASALT-SUSPEND 1 LENGTH\n", then LENGTH bytes of the hypervisor's stream. The first block is
/// written last, so that a half-written image is none.
class NbdImages final : public Images {
  public:
    explicit NbdImages(RealLoop& loop) : loop_(loop) {}

    Task<void> store(hv::DiskAttachment disk, Use fill) override;
    Task<void> load(hv::DiskAttachment disk, Use drain) override;

  private:
    RealLoop& loop_;
};

}  // namespace basalt::agent
