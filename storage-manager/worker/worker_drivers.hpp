#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/real_loop.hpp"
#include "storage-manager/api/storage.hpp"

namespace basalt::sm {

/// How long hostd waits for a worker before it kills it.
struct WorkerLimits {
    Duration start = 20s;
    Duration verb = 120s;  // open, close, create, destroy, snapshots, clone, resize
    Duration scan = 300s;
    Duration attach = 300s;
    Duration format = 1h;
};

/// Drivers that live in processes of their own, one an SR: `program` is started for each with its
/// end of a socket pair as descriptor 3. A worker that is stuck past its limit is killed and never
/// waited for; one that died is started again, with its SR attached and its disks open as before,
/// and an idempotent verb is tried once more. A verb whose outcome is lost throws
/// SM_PLUGIN_COMMUNICATION_FAILURE.
class WorkerDrivers final : public Drivers {
  public:
    WorkerDrivers(RealLoop& loop, std::string program, WorkerLimits limits = {});
    /// The program with something in front of it, such as a launcher.
    WorkerDrivers(RealLoop& loop, std::vector<std::string> command, WorkerLimits limits = {});

    Task<std::vector<agent::SmFacts>> facts() override;
    Task<std::unique_ptr<Driver>> make(Sr sr) override;
    Task<void> create(Sr sr) override;
    Task<void> destroy(Sr sr) override;
    Task<std::string> probe(std::string type, DeviceConfig config) override;

  private:
    RealLoop& loop_;
    std::vector<std::string> program_;
    WorkerLimits limits_;
    std::optional<std::vector<agent::SmFacts>> facts_;
};

}  // namespace basalt::sm
