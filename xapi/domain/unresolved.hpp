#pragma once
#include <memory>
#include <string>
#include <vector>

#include "xapi/domain/storage.hpp"

namespace basalt::domain {

/// What coordinators of earlier terms had asked of a host and perhaps never heard of: lands what
/// the records cannot tell by looking, and takes away disks that nobody knows. One object a start
/// of day.
class Unresolved {
  public:
    Unresolved(core::Core& core, Storage& storage, std::vector<agent::OperationEnd> ends);

    /// Before anything else of the host is landed: guests that were suspended or resumed, disks
    /// that are gone. Idempotent.
    void land(db::Txn& txn, xenapi::Ref<xenapi::Host> host);
    /// Once the SRs are plugged: destroys the disks that were made for calls which never landed.
    /// One that cannot be destroyed is kept for the next time.
    Task<void> clean(agent::Host& agent, NextOperation next);

    /// What the host need not keep any more.
    [[nodiscard]] std::vector<std::string> settled() const { return settled_; }

  private:
    struct Orphan {
        agent::OperationEnd end;
        std::shared_ptr<void> hidden;  // from scans
    };

    void land_disk_end(db::Txn& txn, const agent::OperationEnd& end);
    void land_guest_end(db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                        const agent::OperationEnd& end);

    core::Core& core_;
    std::vector<agent::OperationEnd> ends_;
    std::vector<Orphan> orphans_;
    std::vector<std::string> settled_;
};

}  // namespace basalt::domain
