#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/qmp.hpp"
#include "base/real_loop.hpp"
#include "base/shown_file.hpp"
#include "base/subprocess.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/datapath/chain.hpp"
#include "storage-manager/datapath/qsd_datapath.hpp"
#include "storage-manager/datapath/relay.hpp"

namespace basalt::sm {

constexpr auto folder_mode = std::filesystem::perms::owner_all |
                             std::filesystem::perms::group_exec |
                             std::filesystem::perms::others_exec;

/// One qemu-storage-daemon and the disks it serves. Callers come one at a time. What the daemon
/// refuses is a qmp::Error, what got lost on the way INTERNAL_ERROR.
class QsdDatapath::Server {
  public:
    Server(RealLoop& loop, std::string vm, std::filesystem::path folder,
           std::shared_ptr<Confinement> confinement);

    /// Starts a daemon, or connects to the one that is there; `connect` answers false when there is
    /// none (any more).
    Task<void> start();
    Task<bool> connect();

    [[nodiscard]] const std::string& vm() const { return vm_; }

    [[nodiscard]] const std::set<std::string>& devices() const { return devices_; }

    [[nodiscard]] bool alive() const { return client_ && !client_->closed(); }

    [[nodiscard]] DiskServer where(const std::string& device) const;

    Task<void> add(std::string device, Attachment disk);
    Task<void> remove(std::string device);
    /// As Datapath::switch_leaf.
    Task<std::optional<ApiError>> switch_leaf(std::string device, Image leaf);
    Task<void> resize(std::string device, std::int64_t size_bytes);
    /// Flushes, ends the daemon and deletes its folder. A daemon that does not end is killed.
    Task<void> stop();

  private:
    struct Export {
        std::string node;
        bool writable = false;
    };

    struct Sockets;

    Command command(Sockets& sockets);
    Task<void> end_process();
    void hide_strays(const std::vector<std::string>& nodes);
    Task<qmp::Json> ask(std::string command, qmp::Json arguments = qmp::Json::object());
    Task<std::vector<std::string>> nodes(std::string device);
    Task<NodeNames> fresh_names(std::string device);
    Task<std::string> add_image(std::string device, Image image, std::string backing,
                                bool read_only);
    /// Makes the image's file node: of what is shown, or of what a relay serves.
    Task<void> add_file(Image image, NodeNames names, bool read_only);
    Task<void> hide(std::string node);
    Task<void> add_chain(std::string device, Attachment disk);
    Task<void> add_export(std::string device, Export what);
    Task<void> remove_export(std::string device);
    Task<void> remove_nodes(std::vector<std::string> names);
    Task<bool> exported(std::string device);
    Task<std::optional<Export>> current(std::string device);

    [[nodiscard]] std::string file(const char* name) const { return (folder_ / name).string(); }

    /// Where the daemon sees the image of a node.
    [[nodiscard]] std::string shown(const std::string& node) const {
        return (folder_ / "disks" / node).string();
    }

    [[nodiscard]] std::string group() const { return vm_ + ".qsd"; }

    RealLoop& loop_;
    std::string vm_;
    std::filesystem::path folder_;
    std::shared_ptr<Confinement> confinement_;
    std::optional<Slots::Held> slot_;
    OwnerMaps maps_;
    Relays relays_;
    std::shared_ptr<Process> process_;
    std::unique_ptr<qmp::Client> client_;
    std::set<std::string> devices_;
};

}  // namespace basalt::sm
