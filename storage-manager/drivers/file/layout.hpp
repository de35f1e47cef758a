#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage-manager/drivers/file/qcow2.hpp"

/// What a directory SR looks like on disk (README.md has the whole of it), without any policy.
/// Every call blocks: pool threads only. Failures of the system throw std::system_error.
namespace basalt::sm::file {

/// A disk as users know it: `<uuid>.vdi.json`.
struct Disk {
    std::string uuid;
    std::string image;  // file name of the image it reads and writes
    std::string name;
    std::string description;
    std::string type;
    std::map<std::string, std::string> sm_config;
};

/// A qcow2 file of the directory.
struct ImageFile {
    std::string file;     // its name, without a folder
    std::string uuid;     // the part of its name that is one; empty: none
    bool ours = false;    // this driver made it, so it may delete it
    bool usable = false;  // its chain stays in the folder and is no longer than allowed
    std::string backing;  // file name, or empty
    std::int64_t virtual_bytes = 0;
    std::int64_t used_bytes = 0;
};

using Disks = std::map<std::string, Disk>;        // by uuid
using Images = std::map<std::string, ImageFile>;  // by file name

/// One look at the folder.
struct View {
    Disks disks;
    Images images;
    /// Everything there could be read. Otherwise nothing may be deleted: what cannot be read may
    /// need it.
    bool whole = true;
};

constexpr std::size_t chain_images_max = 30;

class Layout {
  public:
    explicit Layout(std::filesystem::path folder) : folder_(std::move(folder)) {}

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

    [[nodiscard]] std::filesystem::path path(const std::string& image) const {
        return folder_ / image;
    }

    [[nodiscard]] View look() const;
    [[nodiscard]] std::optional<Disk> disk(const std::string& uuid) const;
    /// Atomic and durable when it returns.
    void put(const Disk& disk) const;
    /// Durable when it returns; absent is success.
    void remove_disk(const std::string& uuid) const;
    void remove_image(const std::string& image) const;
    /// Gives a stranger's `<uuid>.qcow2` the name of one of ours.
    std::string take_over(const ImageFile& image) const;
    /// Makes a new file's bytes and its name durable.
    void make_durable(const std::string& image) const;

    struct Space {
        std::int64_t size_bytes = 0;
        std::int64_t free_bytes = 0;
    };

    [[nodiscard]] Space space() const;

    static std::string image_name(const std::string& uuid);

  private:
    [[nodiscard]] std::filesystem::path disk_path(const std::string& uuid) const;

    std::filesystem::path folder_;
};

// Pure: what follows from a look at the folder.

/// File names from `image` down to its base; empty when the chain is broken, circular, too long or
/// leaves the folder.
std::vector<std::string> chain_of(const Images& images, const std::string& image);
/// Images of ours that no disk and no other image needs, children before parents.
std::vector<std::string> garbage(const View& view);
/// Files of strangers that nothing is based on and no disk names: they are disks of their own.
std::vector<std::string> unclaimed(const View& view);

/// An inner image with one child, which could take in its content.
struct Merge {
    std::string parent;
    std::string child;
};

std::vector<Merge> merges(const View& view);

}  // namespace basalt::sm::file
