#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/undo.hpp"
#include "base/wait.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/manager/claims.hpp"

namespace basalt::sm {

/// The storage of a host, whatever its drivers, datapath and transfers are made of.
/// What it must remember (SRs, open disks) is durable before it matters.
/// Shared: a transfer that is under way keeps it, to close the disk in the end.
class Manager final : public Storage, public std::enable_shared_from_this<Manager> {
  public:
    struct Parts {
        std::unique_ptr<Drivers> drivers;
        std::unique_ptr<Datapath> datapath;
        std::unique_ptr<Transfer> transfer;
        std::unique_ptr<StateStore> state;
    };

    Manager(Loop& loop, Parts parts);
    ~Manager() override;

    Task<void> adopt() override;
    Task<std::vector<agent::SmFacts>> storage_drivers() override;
    Task<std::string> sr_probe(agent::SrProbeArgs args) override;
    Task<void> sr_create(agent::SrCreateArgs args) override;
    Task<void> sr_destroy(agent::SrDestroyArgs args) override;
    Task<agent::SrInfo> sr_attach(agent::SrAttachArgs args) override;
    Task<void> sr_detach(agent::SrDetachArgs args) override;
    Task<agent::SrInfo> sr_stat(agent::SrStatArgs args) override;
    Task<agent::SrContents> sr_scan(agent::SrScanArgs args) override;
    Task<agent::VdiInfo> vdi_create(agent::VdiCreateArgs args) override;
    Task<void> vdi_destroy(agent::VdiDestroyArgs args) override;
    Task<agent::VdiInfo> vdi_snapshot(agent::VdiSnapshotArgs args) override;
    Task<agent::VdiInfo> vdi_clone(agent::VdiCloneArgs args) override;
    Task<agent::VdiInfo> vdi_revert(agent::VdiRevertArgs args) override;
    Task<agent::VdiInfo> vdi_copy(agent::VdiCopyArgs args, rpc::Progress progress) override;
    Task<agent::VdiInfo> vdi_resize(agent::VdiResizeArgs args) override;
    Task<UniqueFd> vdi_open(agent::VdiOpenArgs args) override;
    Task<UniqueFd> vdi_export(agent::VdiExportArgs args) override;
    Task<std::string> vdi_changes(agent::VdiChangesArgs args) override;
    Task<UniqueFd> vdi_import(agent::VdiImportArgs args) override;
    Task<DiskServer> open_disk(std::string vm, agent::DiskSpec spec) override;
    Task<void> close_disk(std::string vm, std::string device) override;
    Task<void> close_all(std::string vm) override;
    [[nodiscard]] std::vector<std::string> vms() const override;

  private:
    struct Sr {
        Drivers::Sr what;
        bool wanted = false;  // attached as far as xapi knows
        bool ready = false;   // its driver has attached it
        std::shared_ptr<Driver> driver;
    };

    using Plug = std::pair<std::string, std::string>;  // VM, device

    struct OpenDisk {
        agent::DiskSpec spec;
        Claims::Id claim = 0;
        DiskServer server;
    };

    /// A disk opened for a transfer; `close` undoes both halves.
    struct Opened {
        agent::DiskRef disk;
        Claims::Id claim = 0;
        Attachment attachment;
    };

    Task<void> load();
    Task<void> save();
    Task<void> attach_wanted();
    Task<void> attach_quietly(std::string uuid);
    Task<void> adopt_disk(Plug plug);
    Task<agent::SrInfo> attach(std::string uuid);
    Task<std::shared_ptr<Driver>> driver(std::string uuid);
    void require_unused(const std::string& sr) const;

    Task<Opened> open(agent::DiskRef disk, agent::Access access, std::string owner);
    Task<void> close(Opened opened);
    Task<void> driver_close(agent::DiskRef disk);
    static Task<void> close_later(std::shared_ptr<Manager> self, agent::DiskRef disk);
    Transfer::Ended closer(const Opened& opened);
    Task<void> serve(Plug plug, agent::DiskSpec spec);
    Task<void> unplug(Plug plug);
    Task<agent::VdiInfo> snapshot(agent::VdiSnapshotArgs args);
    Task<void> switch_live(Plug plug, std::shared_ptr<Driver> driver, Snapshots::Prepared prepared);
    Task<agent::VdiInfo> copy_over(agent::VdiCopyArgs args, rpc::Progress progress);
    /// `to_empty`: the disk has just been made.
    Task<void> copy_into(agent::VdiCopyArgs args, agent::DiskRef target, bool to_empty,
                         rpc::Progress progress);
    [[nodiscard]] std::optional<Plug> writer(const agent::DiskRef& disk) const;

    Loop& loop_;
    Parts parts_;
    ObjectQueue queue_;  // "sr UUID" and "disk SR/LOCATION"
    Claims claims_;
    std::map<std::string, Sr> srs_;
    std::map<Plug, OpenDisk> disks_;
};

}  // namespace basalt::sm
