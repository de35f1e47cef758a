#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "base/wait.hpp"
#include "idl/records/session.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/database_disk.hpp"
#include "xapi/domain/storage.hpp"

namespace basalt {
class Undo;
}

namespace basalt::domain {

/// Copies of the database on disks of repositories, for a pool that has lost its own: made a moment
/// after each change, and looked at by whoever finds the disk. Which disks have one, the records
/// say: those whose metadata_of_pool is our pool. docs/decisions/0019. Loop only.
class DatabaseCopies {
  public:
    DatabaseCopies(core::Core& core, Storage& storage);

    using Open =
        std::function<Task<std::unique_ptr<BlockDisk>>(xenapi::Ref<xenapi::Vdi>, agent::Access)>;

    /// For tests, whose disks have no bytes: how disks are opened instead.
    void open_by(Open open) { open_ = std::move(open); }

    using LookAt = std::function<xenapi::Ref<xenapi::Session>(Call&, std::shared_ptr<db::Database>,
                                                              const std::string& user)>;

    /// Who makes sessions; before anything is served.
    void look_by(LookAt look_at) { look_at_ = std::move(look_at); }

    /// Throws SR_HAS_NO_PBDS unless every host has plugged the repository,
    /// SR_OPERATION_NOT_SUPPORTED when its driver forgets what a disk is for.
    void require_supported(xenapi::Ref<xenapi::Sr> sr) const;
    /// Idempotent. Returns when the first copy is durable. NO_MORE_REDO_LOGS_ALLOWED,
    /// CANNOT_ENABLE_REDO_LOG [reason], the errors of require_supported and of making a disk.
    Task<void> enable(Call& call, xenapi::Ref<xenapi::Sr> sr);
    /// The disks with our copies in it go. Idempotent.
    Task<void> disable(Call& call, xenapi::Ref<xenapi::Sr> sr);
    /// One more copy, that of the pool's redo log, in this repository and no other from now on.
    /// CANNOT_ENABLE_REDO_LOG [reason] for whatever fails.
    Task<void> enable_redo_log(Call& call, xenapi::Ref<xenapi::Sr> sr);
    /// Its disk stays, with what it has. Idempotent.
    Task<void> disable_redo_log(Call& call);

    /// A session that looks at the database on the disk. VDI_INCOMPATIBLE_TYPE [vdi, type],
    /// COULD_NOT_IMPORT_DATABASE [reason].
    Task<xenapi::Ref<xenapi::Session>> open(Call& call, xenapi::Ref<xenapi::Vdi> disk);
    /// Whose database is on the disk; empty when nobody can tell.
    Task<std::string> pool_uuid(Call& call, xenapi::Ref<xenapi::Vdi> disk);

    /// Keeps the copies up to date until cancelled.
    Task<void> run_forever();

  private:
    struct Copy {
        db::Generation written = 0;  // the newest change that is in it
        bool broken = false;
        Time next_try{};
        Duration pause{};  // before the next try
    };

    using Disks = std::vector<xenapi::Ref<xenapi::Vdi>>;

    /// Of the newest change that would be stored.
    [[nodiscard]] db::Generation stored_generation() const;
    [[nodiscard]] Disks disks_of_copies() const;
    [[nodiscard]] std::string own_uuid() const;
    [[nodiscard]] xenapi::Ref<xenapi::Vdi> find_disk(xenapi::Ref<xenapi::Sr> sr,
                                                     xenapi::VdiType type) const;
    Task<xenapi::Ref<xenapi::Vdi>> find_or_make(Call& call, xenapi::Ref<xenapi::Sr> sr,
                                                xenapi::VdiType type, Undo& undo);
    Task<void> round();
    Task<void> keep(xenapi::Ref<xenapi::Vdi> disk, const PackedDatabase& database);
    void tell(xenapi::Ref<xenapi::Vdi> disk, const std::string& failure);
    /// A picture of all that is durable now.
    Task<PackedDatabase> pack();
    Task<void> write(xenapi::Ref<xenapi::Vdi> disk, PackedDatabase database);
    Task<std::unique_ptr<BlockDisk>> opened(xenapi::Ref<xenapi::Vdi> disk, agent::Access access);

    core::Core& core_;
    Storage& storage_;
    Open open_;
    LookAt look_at_;
    ObjectQueue turns_;  // by disk: one opens it at a time; by repository and pool: one changes it
    std::map<xenapi::Ref<xenapi::Vdi>, Copy> copies_;
    std::map<xenapi::Ref<xenapi::Vdi>, std::string> foreign_;  // pools by disk, as read
};

}  // namespace basalt::domain
