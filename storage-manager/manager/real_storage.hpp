#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/worker/worker_drivers.hpp"

namespace basalt::sm {

struct RealStorageConfig {
    /// Sockets of the guests' storage daemons. Short (a socket's path has 107 characters), and gone
    /// after a reboot, like the daemons.
    std::filesystem::path run_folder;
    /// Kept over reboots: what is attached. Holds device_config, passwords too; mode 0600.
    std::filesystem::path state_file;
    /// Space for images under conversion; emptied at the start.
    std::filesystem::path work_folder;
    std::string worker_program;  // sm-worker
    std::string stream_program;  // sm-stream
    /// The one that the guests' processes have. Not null.
    std::shared_ptr<Confinement> confinement;
    WorkerLimits limits;
};

/// What hostd uses: drivers in worker processes, qemu-storage-daemon, qemu-img.
std::shared_ptr<Storage> real_storage(RealLoop& loop, const RealStorageConfig& config);

/// A text file that is replaced as a whole, durably.
std::unique_ptr<StateStore> file_state(Loop& loop, std::filesystem::path file);

}  // namespace basalt::sm
