#include "storage-manager/manager/real_storage.hpp"

#include <fcntl.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "base/durable_file.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/qemu_transfer.hpp"
#include "storage-manager/datapath/qsd_datapath.hpp"
#include "storage-manager/manager/manager.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

class FileState final : public StateStore {
  public:
    FileState(Loop& loop, fs::path file) : loop_(loop), file_(std::move(file)), queue_(loop) {}

    Task<std::string> load() override {
        return blocking(loop_, [file = file_] {
            std::ifstream in(file);
            return std::string{std::istreambuf_iterator<char>(in), {}};
        });
    }

    Task<void> save(std::string text) override {
        const auto lease = co_await queue_.acquire("file");
        co_await blocking(loop_, [file = file_, text = std::move(text)] {
            fs::create_directories(file.parent_path());
            write_durably(file, text);
        });
    }

  private:
    Loop& loop_;
    fs::path file_;
    ObjectQueue queue_;
};

// Drivers mount and format as root, but load no module, trace nobody and set no clock.
std::vector<std::string> worker_command(const RealStorageConfig& config) {
    Cell cell;
    cell.capabilities = {"sys_admin", "dac_override", "chown", "fowner", "mknod"};
    cell.groups = config.confinement->groups.make("workers", {.pids_max = 4096});
    cell.all_files = true;
    cell.network = true;
    return confined(config.confinement->launcher, cell, {config.worker_program});
}

}  // namespace

std::unique_ptr<StateStore> file_state(Loop& loop, fs::path file) {
    return std::make_unique<FileState>(loop, std::move(file));
}

std::shared_ptr<Storage> real_storage(RealLoop& loop, const RealStorageConfig& config) {
    Manager::Parts parts;
    parts.drivers = std::make_unique<WorkerDrivers>(loop, worker_command(config), config.limits);
    parts.datapath = std::make_unique<QsdDatapath>(loop, config.run_folder, config.confinement);
    parts.transfer = std::make_unique<QemuTransfer>(loop, config.work_folder, config.stream_program,
                                                    config.confinement);
    parts.state = file_state(loop, config.state_file);
    return std::make_shared<Manager>(loop, std::move(parts));
}

}  // namespace basalt::sm
