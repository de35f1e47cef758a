#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "storage-manager/api/driver.hpp"

namespace basalt::sm {

/// For one VM: the processes that read its remote images. A storage daemon has no network; each
/// such image is opened by a qemu-nbd that has, as a third user, and has nothing else, and that
/// serves the daemon on a unix socket. It ends with its client, outlives hostd, and is found again
/// by its pid file.
class Relays {
  public:
    /// `folder` is the VM's; pid files are named `relay-NAME.pid` there.
    Relays(RealLoop& loop, std::string vm, std::filesystem::path folder,
           std::shared_ptr<Confinement> confinement);

    /// Serves the image on a new socket `at`, to which only `client` may connect. Returns when the
    /// image has been opened. Throws SR_BACKEND_FAILURE_46, within 20 s.
    Task<void> start(std::string name, Image image, std::string at, uid_t client);
    /// Ends those whose name begins so, at once: what is being read fails. Blocks.
    void end(const std::string& prefix);
    /// After all have ended: nothing is left of their group. Blocks.
    void forget();
    /// After a restart of hostd: keeps the user of those that run on.
    Task<void> adopt();

  private:
    [[nodiscard]] std::string group() const { return vm_ + ".nfs"; }

    [[nodiscard]] std::string pid_file(const std::string& name) const;
    Task<void> hold();

    RealLoop& loop_;
    std::string vm_;
    std::filesystem::path folder_;
    std::shared_ptr<Confinement> confinement_;
    std::optional<Slots::Held> slot_;
};

}  // namespace basalt::sm
