#pragma once
#include <string>
#include <vector>

#include "idl/api/dr_task_api.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/core.hpp"

namespace basalt {
class Undo;
}

namespace basalt::domain {

class PbdDomain;
class SrDomain;

/// Class DR_task: repositories of a pool that was lost, brought in so that its database and the
/// disks of its VMs are there (VDI.open_database, VM.recover).
class DrTaskDomain final : public xenapi::DrTaskApi {
  public:
    /// All outlive it.
    DrTaskDomain(core::Core& core, SrDomain& srs, PbdDomain& pbds)
        : core_(core), srs_(srs), pbds_(pbds) {}

    Task<xenapi::Ref<xenapi::DrTask>> create(Call& call, xenapi::DrTaskCreate params) override;
    Task<void> destroy(Call& call, xenapi::DrTaskDestroy params) override;

  private:
    using DeviceConfig = xenapi::Map<std::string, std::string>;

    /// What a probe told of a repository.
    struct Found {
        std::string uuid;
        std::string name;
        std::string description;
    };

    Task<std::vector<Found>> probe(Call& call, const xenapi::DrTaskCreate& params);
    Task<xenapi::Ref<xenapi::Sr>> bring_in(Call& call, Found found, std::string type,
                                           const DeviceConfig& config, Undo& undo);
    /// Plugged nowhere any more, and forgotten.
    Task<void> take_out(Call& call, xenapi::Ref<xenapi::Sr> sr);

    core::Core& core_;
    SrDomain& srs_;
    PbdDomain& pbds_;
};

}  // namespace basalt::domain
