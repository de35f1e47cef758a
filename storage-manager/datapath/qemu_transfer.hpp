#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/confine.hpp"
#include "base/real_loop.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/datapath/changes.hpp"

namespace basalt::sm {

class TransferCell;

/// Whole disks by qemu-img, qemu-nbd and our own `sm-stream`, each in a process of its own. The
/// former two read what clients sent, and are confined to it (transfer_cell.hpp).
class QemuTransfer final : public Transfer {
  public:
    /// `work_folder` takes sockets and converted images while a transfer lasts; what is left there
    /// from an earlier run is deleted. `stream_program` is the path of sm-stream.
    QemuTransfer(RealLoop& loop, std::filesystem::path work_folder, std::string stream_program,
                 std::shared_ptr<Confinement> confinement);

    Task<void> copy(Copy what, rpc::Progress progress) override;
    Task<std::string> changes(Attachment disk, Attachment base, Window window) override;
    Task<UniqueFd> serve(Attachment disk, Ended ended) override;
    Task<UniqueFd> send(Sent what, Ended ended) override;
    Task<UniqueFd> receive(Disk disk, std::string format, Ended ended) override;

  private:
    struct Server;
    struct Stream;

    Task<std::shared_ptr<TransferCell>> open_cell();
    Task<std::shared_ptr<Server>> start_server(Attachment disk);
    Task<nlohmann::json> map(Attachment disk, Window window = {});
    Task<void> copy_changes(Copy what, rpc::Progress progress);
    /// `ranges` as extent_lines writes them.
    Task<void> copy_ranges(std::string ranges, Attachment from, Attachment to,
                           rpc::Progress progress);
    static Task<void> await_server(std::shared_ptr<Server> server, Ended then);

    struct Pump {
        std::vector<std::string> prefix;  // confines it
        std::vector<std::string> mode;
        int disk = -1;
        int stream = -1;
        std::string input{};  // what it reads beside them
        std::string vdi;
    };

    Task<void> pump(Pump what);
    /// Within the window (empty: everywhere).
    Task<std::vector<Extent>> differences(Attachment from, Attachment base, Window window = {});
    Task<void> send_raw(std::shared_ptr<Stream> stream);
    Task<void> send_vhd(std::shared_ptr<Stream> stream);
    Task<void> send_difference(std::shared_ptr<Stream> stream);
    Task<void> receive_image(std::shared_ptr<Stream> stream, std::string file);
    Task<void> receive_vhd(std::shared_ptr<Stream> stream);
    Task<void> send_converted(std::shared_ptr<Stream> stream);
    Task<void> receive_raw(std::shared_ptr<Stream> stream);
    Task<void> receive_converted(std::shared_ptr<Stream> stream);
    Task<void> finish(std::shared_ptr<Stream> stream, Task<void> body, bool answer);
    [[nodiscard]] std::filesystem::path fresh_path(const char* ending);

    RealLoop& loop_;
    std::filesystem::path work_folder_;
    std::string stream_program_;
    std::shared_ptr<Confinement> confinement_;
};

}  // namespace basalt::sm
