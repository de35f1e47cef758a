#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/fd.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "storage-manager/api/driver.hpp"
#include "storage-manager/drivers/file/layout.hpp"

namespace basalt::sm {

/// An SR that is a folder of qcow2 images. README.md beside it describes the files and why every
/// moment between two of its steps is a state that the next scan understands.
/// Shared, because merging images goes on in the background: it ends soon after `stop`.
class FolderSr final : public std::enable_shared_from_this<FolderSr> {
  public:
    FolderSr(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder);

    Task<agent::SrInfo> attach();
    Task<void> detach();
    Task<agent::SrContents> scan();
    Task<agent::VdiInfo> stat(Location vdi);
    Task<agent::VdiInfo> create(agent::VdiSpec spec);
    Task<void> destroy(Location vdi);
    Task<Attachment> open(Location vdi, agent::Access access);
    Task<void> close(Location vdi);
    Task<Snapshots::Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec);
    Task<agent::VdiInfo> snapshot_commit(std::string token);
    Task<void> snapshot_abort(std::string token);
    Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec);
    Task<agent::VdiInfo> revert(Location vdi, Location snapshot);
    Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes);

    /// Waits until no merge of images is under way; for tests and for an orderly end.
    Task<void> settle();
    void stop();

  private:
    struct Found {
        file::View view;
        file::Disk disk;
        std::vector<std::string> chain;  // from the disk's image down
    };

    Task<file::View> look();
    Task<Found> find(std::string vdi);
    Task<agent::VdiInfo> info(std::string vdi);
    Task<std::string> make_image(std::string backing, std::int64_t size_bytes);
    Task<agent::VdiInfo> add_disk(agent::VdiSpec spec, std::string image);
    Task<std::string> freeze(Found found);
    /// An image with the disk's content, which nobody writes to any more.
    Task<std::string> frozen_content(Found found);
    Task<void> put(file::Disk disk);
    Task<void> collect_garbage();
    Task<void> adopt_unclaimed();
    Task<void> qemu_img(std::vector<std::string> args, Duration limit, Failure failure);
    void start_merging();
    static Task<void> merge_all(std::shared_ptr<FolderSr> self);
    Task<bool> merge_one();
    Task<void> stop_merging();
    [[nodiscard]] bool busy(const file::View& view, const std::string& image) const;

    RealLoop& loop_;
    std::string sr_uuid_;
    file::Layout layout_;
    ObjectQueue queue_;  // one key: verbs that change the folder come one after the other
    UniqueFd lock_;      // held while attached, so that a worker given up for dead cannot interfere
    std::map<std::string, agent::Access> open_;
    std::set<std::string> prepared_;  // images under a snapshot that is neither done nor taken back
    std::shared_ptr<Job> merging_;
};

class FileDriver final : public Driver, public Snapshots, public Resizer {
  public:
    FileDriver(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder)
        : sr_(std::make_shared<FolderSr>(loop, std::move(sr_uuid), std::move(folder))) {}

    FileDriver(const FileDriver&) = delete;
    FileDriver& operator=(const FileDriver&) = delete;

    ~FileDriver() override { sr_->stop(); }

    [[nodiscard]] FolderSr& sr() { return *sr_; }

    Task<agent::SrInfo> attach() override { return sr_->attach(); }

    Task<void> detach() override { return sr_->detach(); }

    Task<agent::SrContents> scan() override { return sr_->scan(); }

    Task<agent::VdiInfo> stat(Location vdi) override { return sr_->stat(std::move(vdi)); }

    Task<agent::VdiInfo> create(agent::VdiSpec spec) override {
        return sr_->create(std::move(spec));
    }

    Task<void> destroy(Location vdi) override { return sr_->destroy(std::move(vdi)); }

    Task<Attachment> open(Location vdi, agent::Access access) override {
        return sr_->open(std::move(vdi), access);
    }

    Task<void> close(Location vdi) override { return sr_->close(std::move(vdi)); }

    Snapshots* snapshots() override { return this; }

    Resizer* resizer() override { return this; }

    Task<Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec) override {
        return sr_->snapshot_prepare(std::move(vdi), std::move(spec));
    }

    Task<agent::VdiInfo> snapshot_commit(std::string token) override {
        return sr_->snapshot_commit(std::move(token));
    }

    Task<void> snapshot_abort(std::string token) override {
        return sr_->snapshot_abort(std::move(token));
    }

    Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec) override {
        return sr_->clone(std::move(vdi), std::move(spec));
    }

    Task<agent::VdiInfo> revert(Location vdi, Location snapshot) override {
        return sr_->revert(std::move(vdi), std::move(snapshot));
    }

    Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes) override {
        return sr_->resize(std::move(vdi), size_bytes);
    }

  private:
    std::shared_ptr<FolderSr> sr_;
};

/// `file` (device_config location): the folder itself.
Kind file_kind(RealLoop& loop);

/// Shared with kinds that bring a folder of their own: the marker that says whose folder it is.
Task<void> create_folder_sr(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder);
Task<void> destroy_folder_sr(RealLoop& loop, std::string sr_uuid, std::filesystem::path folder);
/// What every driver with qcow2 images can do.
std::vector<std::string> qcow2_capabilities();

}  // namespace basalt::sm
