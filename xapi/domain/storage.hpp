#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent_verbs.hpp"
#include "base/stream.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/operation.hpp"

namespace basalt::domain {

/// Names verbs that belong to no call.
using NextOperation = std::function<agent::Operation()>;

/// In other_config of a VM that is being imported: the task of the import.
inline constexpr std::string_view import_task_key = "import_task";

/// In sm_config of a disk on which a pool keeps a copy of its database: the pool's uuid. Whoever
/// finds the disk in its repository learns by it what the disk is for.
inline constexpr std::string_view database_mark = "database_of_pool";

/// The rows of a VM whose import has come to nothing, its disks aside.
void erase_imported(db::Txn& txn, xenapi::Ref<xenapi::Vm> vm);

/// What several classes do with disks: makes, copies, snapshots and destroys them through the SR's
/// home host and keeps the rows true. Every verb undoes what it did when it fails.
class Storage {
  public:
    /// Disks that a call makes on its way and that are nobody's before it lands. Their rows say so
    /// (`provisional`), so that after a crash they are destroyed and not found again as disks.
    /// While this object lives, nobody else destroys them; those not kept by then are discarded.
    class Drafts {
      public:
        explicit Drafts(Storage& storage) : storage_(storage) {}

        Drafts(const Drafts&) = delete;
        Drafts& operator=(const Drafts&) = delete;
        ~Drafts();

        /// In the transaction that lands the call: they stay.
        void keep(db::Txn& txn) const;

      private:
        friend class Storage;
        void add(xenapi::Ref<xenapi::Vdi> disk);

        Storage& storage_;
        std::map<xenapi::Ref<xenapi::Vdi>, std::shared_ptr<void>> disks_;
    };

    explicit Storage(core::Core& core) : core_(core) {}

    /// Of the host that may change the SR; see core/homes.hpp.
    agent::Host& home_agent(xenapi::Ref<xenapi::Sr> sr);

    /// A new disk; `row` says SR, size, names, type and configuration. SR_FULL and the driver's
    /// errors.
    Task<xenapi::Ref<xenapi::Vdi>> create_disk(Call& call, xenapi::Vdi row,
                                               Drafts* drafts = nullptr);
    /// The files and the row. VDI_IN_USE when something uses it.
    Task<void> destroy_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk);
    /// A writable disk with the same content, on the same SR.
    Task<xenapi::Ref<xenapi::Vdi>> clone_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                              Drafts* drafts = nullptr);
    /// A full copy, to the same or another SR.
    /// A new disk in `sr`; with a base (or null) it holds only what differs from that one.
    Task<xenapi::Ref<xenapi::Vdi>> copy_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                             xenapi::Ref<xenapi::Sr> sr,
                                             xenapi::Ref<xenapi::Vdi> base = {},
                                             Drafts* drafts = nullptr);

    /// Writes the content of `disk` over an existing one, or (`into` null) into a new one in `sr`.
    /// With a base only what differs from it. VDI_READONLY, VDI_TOO_SMALL, VDI_IN_USE of `into`,
    /// VDI_NOT_SPARSE; a copy that fails half-way leaves `into` with part of the content.
    struct Overwrite {
        xenapi::Ref<xenapi::Vdi> disk;
        xenapi::Ref<xenapi::Vdi> base;
        xenapi::Ref<xenapi::Vdi> into;
    };

    Task<xenapi::Ref<xenapi::Vdi>> copy_over(Call& call, Overwrite what);
    Task<xenapi::Ref<xenapi::Vdi>> snapshot_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk,
                                                 Drafts* drafts = nullptr);
    /// Destroys a disk that nobody has use for and whose row is provisional already, whatever
    /// becomes of the call: the answer may be waited for. A failure is logged; the disk goes when
    /// its host appears the next time.
    std::shared_ptr<Job> discard(xenapi::Ref<xenapi::Vdi> disk);
    /// Ends what goes on behind; nothing of this object runs afterwards.
    Task<void> stop();
    /// The row of a disk that is destroyed, and the disk drives it was in.
    static void erase_disk(db::Txn& txn, xenapi::Ref<xenapi::Vdi> disk);
    /// Destroys the provisional disks of the SRs whose home is `host` that no call under way holds.
    Task<void> sweep(xenapi::Ref<xenapi::Host> host, agent::Host& agent, NextOperation next);
    /// Until the answer is destroyed, no scan takes the disk for a new one.
    [[nodiscard]] std::shared_ptr<void> hide(std::string uuid);
    Task<void> resize_disk(Call& call, xenapi::Ref<xenapi::Vdi> disk, std::int64_t size,
                           bool online);
    /// The disk of which it is a snapshot gets its content again.
    Task<void> revert_disk(Call& call, xenapi::Ref<xenapi::Vdi> snapshot);

    /// Makes the rows of an SR's disks what the driver found: new ones appear, lost ones go. What
    /// changed after `asked_at`, when the driver was asked, it may not know. A few disks a turn and
    /// a transaction: SRs have thousands.
    Task<void> land_contents(xenapi::Ref<xenapi::Sr> sr, const agent::SrContents& contents,
                             db::Generation asked_at);
    /// What the driver said of itself, and the sum of the sizes of its disks.
    Task<agent::SrInfo> with_virtual_bytes(xenapi::Ref<xenapi::Sr> sr, agent::SrInfo info);
    /// Nothing when the SR is gone.
    static void land_sizes(db::Txn& txn, xenapi::Ref<xenapi::Sr> sr, const agent::SrInfo& info);
    Task<void> scan(Call& call, xenapi::Ref<xenapi::Sr> sr);

    /// Makes a stream of a descriptor that a host's agent handed over.
    using Adopt = std::function<std::unique_ptr<Stream>(UniqueFd)>;

    /// Without it (a simulated pool) no disk can be read here.
    void read_by(Adopt adopt) { adopt_ = std::move(adopt); }

    /// An NBD connection to the disk, export "disk", by its home host. The driver's errors.
    Task<std::unique_ptr<Stream>> open_disk(xenapi::Ref<xenapi::Vdi> disk, agent::Access access);

    /// MD5 of the disk's bytes as lower-case hex; they are all read. VDI_IN_USE while somebody
    /// writes to it.
    Task<std::string> checksum(Call& call, xenapi::Ref<xenapi::Vdi> disk);

    [[nodiscard]] agent::DiskRef disk_ref(xenapi::Ref<xenapi::Vdi> disk) const;
    /// The uuid of the running VM that has the disk open, or empty.
    [[nodiscard]] std::string live_in(xenapi::Ref<xenapi::Vdi> disk) const;

  private:
    enum class Copy : std::uint8_t { clone, copy, snapshot };

    struct Duplicate {
        xenapi::Ref<xenapi::Vdi> disk;
        xenapi::Ref<xenapi::Sr> sr;
        Copy how;
        xenapi::Ref<xenapi::Vdi> base{};
        Drafts* drafts = nullptr;
    };

    Task<xenapi::Ref<xenapi::Vdi>> duplicate(Call& call, Duplicate what);
    Task<agent::VdiInfo> duplicate_files(Call& call, Duplicate what, agent::VdiSpec spec);
    [[nodiscard]] std::optional<agent::DiskRef> disk_ref_if(xenapi::Ref<xenapi::Vdi> disk) const;
    void land_disk(db::Txn& txn, xenapi::Ref<xenapi::Sr> sr, const agent::VdiInfo& info,
                   db::Generation asked_at);
    void land_known(db::Txn& txn, xenapi::Ref<xenapi::Vdi> disk, const agent::VdiInfo& info,
                    db::Generation asked_at);
    void land_lost(db::Txn& txn, xenapi::Ref<xenapi::Vdi> disk, db::Generation asked_at);
    [[nodiscard]] bool is_new(const std::string& uuid, db::Generation asked_at) const;
    [[nodiscard]] bool is_held(xenapi::Ref<xenapi::Vdi> disk) const;
    /// Until the answer is destroyed, the disk is not swept.
    [[nodiscard]] std::shared_ptr<void> hold(xenapi::Ref<xenapi::Vdi> disk);
    Task<void> discard_now(xenapi::Ref<xenapi::Vdi> disk);
    /// The SR's sizes, after a change: read at once, and after many changes once a second. A
    /// failure to read them is logged and no error.
    void refresh_sizes(xenapi::Ref<xenapi::Sr> sr);
    Task<void> keep_sizes(xenapi::Ref<xenapi::Sr> sr);
    Task<void> read_sizes(xenapi::Ref<xenapi::Sr> sr);

    core::Core& core_;
    Adopt adopt_;
    std::multiset<xenapi::Ref<xenapi::Vdi>> held_;
    std::vector<std::shared_ptr<Job>> discards_;

    struct Sizing {
        bool changed = true;  ///< since they were read last
        std::shared_ptr<Job> job;
    };

    std::map<xenapi::Ref<xenapi::Sr>, Sizing> sizings_;
    std::multiset<std::string> hidden_;  // disks by uuid that are being made or unmade
};

}  // namespace basalt::domain
