#pragma once
#include "base/real_loop.hpp"
#include "storage-manager/api/driver.hpp"

namespace basalt::sm {

/// `ext` (device_config device): an ext4 file system of our own on a block device, mounted under
/// /run/sr-mount/<sr uuid>, with the folder layout of `file` in it.
Kind ext_kind(RealLoop& loop);

/// The same on XFS.
Kind xfs_kind(RealLoop& loop);

}  // namespace basalt::sm
