#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "storage-manager/api/storage.hpp"

namespace basalt::sm {

/// One qemu-storage-daemon for each VM with disks, confined to these: images are shown to its user
/// in `disks` for as long as they are open. It outlives hostd: a folder a VM under `run_folder` has
/// its sockets (qmp for us, nbd for the VM's QEMU), its pid and its log, and everything else is
/// asked from the daemon itself.
class QsdDatapath final : public Datapath {
  public:
    /// `run_folder` must be short: a unix socket's path has 107 characters at most.
    /// `confinement` is the one that the guests' processes have.
    QsdDatapath(RealLoop& loop, std::filesystem::path run_folder,
                std::shared_ptr<Confinement> confinement);
    ~QsdDatapath() override;

    Task<std::vector<Served>> adopt() override;
    Task<DiskServer> open(std::string vm, std::string device, Attachment disk) override;
    Task<void> close(std::string vm, std::string device) override;
    Task<void> close_all(std::string vm) override;
    Task<std::optional<ApiError>> switch_leaf(std::string vm, std::string device,
                                              Image leaf) override;
    /// The export goes away and comes back: the guest's side must reconnect to see the new size.
    Task<void> resize(std::string vm, std::string device, std::int64_t size_bytes) override;

    class Server;

  private:
    Task<std::shared_ptr<Server>> started(std::string vm);
    Task<void> end(std::shared_ptr<Server> server);
    std::shared_ptr<Server> running(const std::string& vm);

    RealLoop& loop_;
    std::filesystem::path run_folder_;
    std::shared_ptr<Confinement> confinement_;
    ObjectQueue queue_;  // by VM
    std::map<std::string, std::shared_ptr<Server>> servers_;
};

}  // namespace basalt::sm
