#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/confine.hpp"
#include "base/shown_file.hpp"
#include "storage-manager/api/storage.hpp"

namespace basalt::sm {

/// Where a program works on images for one transfer: a user that nobody else is at the time, and a
/// folder in which just these images are shown to it. What a client sent is parsed in here.
/// Everything but `open` blocks.
class TransferCell {
  public:
    /// `folder` must not be there yet.
    static Task<std::shared_ptr<TransferCell>> open(RealLoop& loop, std::filesystem::path folder,
                                                    std::shared_ptr<Confinement> confinement);
    ~TransferCell();
    TransferCell(const TransferCell&) = delete;
    TransferCell& operator=(const TransferCell&) = delete;

    /// The same disk by the names that the program may open; writable is its leaf at most. With a
    /// remote image the program gets the network.
    Attachment show(const Attachment& disk, bool read_only);
    std::string show(const std::string& path, bool read_only);
    /// To be put in front of the program's command.
    std::vector<std::string> prefix();

  private:
    TransferCell(std::filesystem::path folder, std::shared_ptr<Confinement> confinement,
                 Slots::Held slot);

    [[nodiscard]] std::string group() const { return folder_.filename().string() + ".transfer"; }

    std::filesystem::path folder_;
    std::shared_ptr<Confinement> confinement_;
    Slots::Held slot_;
    OwnerMaps maps_;
    int last_ = 0;
    bool network_ = false;
};

}  // namespace basalt::sm
