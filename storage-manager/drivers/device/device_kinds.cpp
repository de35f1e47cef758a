#include "storage-manager/drivers/device/device_kinds.hpp"

#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <ranges>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "base/wait.hpp"
#include "storage-manager/drivers/file/file_driver.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr Duration format_limit = 30min;
constexpr const char* label = "basalt-sr";
constexpr const char* label_of_installer = "BASALT-SR";

struct FileSystem {
    std::string type;                 // of the SRs on it
    std::string title;                // for people
    std::string name;                 // as mount(2), blkid and wipefs have it
    std::vector<std::string> format;  // the command, less what says the uuid and the device
    std::string uuid_option;          // "" before the uuid or an option that ends with it
};

const FileSystem ext4{
    "ext", "ext4", "ext4", {"mkfs.ext4", "-q", "-F", "-m", "0", "-L", label, "-U"}, ""};
const FileSystem xfs{"xfs", "XFS", "xfs", {"mkfs.xfs", "-q", "-f", "-L", label, "-m"}, "uuid="};

fs::path mount_point(const std::string& sr_uuid) {
    return fs::path("/run/sr-mount") / checked_uuid(sr_uuid);
}

std::string device_of(const DeviceConfig& config) {
    const auto found = config.find("device");
    if (found == config.end()) throw backend_failure(Failure::device_missing);
    const std::string device = checked_path(found->second, Failure::device_invalid);
    struct stat facts{};
    if (stat(device.c_str(), &facts) != 0 || !S_ISBLK(facts.st_mode))
        throw backend_failure(Failure::device_invalid, device + " is no block device");
    return device;
}

bool mounted(const fs::path& point) {
    struct stat here{};
    struct stat above{};
    return stat(point.c_str(), &here) == 0 && stat(point.parent_path().c_str(), &above) == 0 &&
           here.st_dev != above.st_dev;
}

void mount_device(const FileSystem& kind, const std::string& device, const fs::path& point) {
    std::error_code failed;
    fs::create_directories(point, failed);
    if (mounted(point)) return;
    constexpr unsigned long flags = MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME;
    // As tools show it: a link of /dev/disk says nothing of where it leads.
    const fs::path real = fs::canonical(device, failed);
    if (::mount(real.c_str(), point.c_str(), kind.name.c_str(), flags, "") != 0)
        throw backend_failure(Failure::sr_unavailable, device + ": " + std::strerror(errno));
}

void unmount(const fs::path& point) {
    if (!mounted(point)) return;
    if (::umount2(point.c_str(), 0) != 0)
        throw backend_failure(Failure::sr_in_use, std::strerror(errno));
    ::rmdir(point.c_str());
}

// `file` with a mount around it.
class DeviceDriver final : public Driver {
  public:
    DeviceDriver(RealLoop& loop, const FileSystem& kind, std::string sr_uuid, std::string device)
        : loop_(loop),
          kind_(kind),
          device_(std::move(device)),
          point_(mount_point(sr_uuid)),
          folder_(loop, std::move(sr_uuid), point_) {}

    Task<agent::SrInfo> attach() override {
        co_await blocking(loop_, [this] { mount_device(kind_, device_, point_); });
        co_return co_await folder_.attach();
    }

    Task<void> detach() override {
        co_await folder_.detach();
        co_await blocking(loop_, [point = point_] { unmount(point); });
    }

    Task<agent::SrContents> scan() override { return folder_.scan(); }

    Task<agent::VdiInfo> stat(Location vdi) override { return folder_.stat(std::move(vdi)); }

    Task<agent::VdiInfo> create(agent::VdiSpec spec) override {
        return folder_.create(std::move(spec));
    }

    Task<void> destroy(Location vdi) override { return folder_.destroy(std::move(vdi)); }

    Task<Attachment> open(Location vdi, agent::Access access) override {
        return folder_.open(std::move(vdi), access);
    }

    Task<void> close(Location vdi) override { return folder_.close(std::move(vdi)); }

    Snapshots* snapshots() override { return folder_.snapshots(); }

    Resizer* resizer() override { return folder_.resizer(); }

  private:
    RealLoop& loop_;
    const FileSystem& kind_;
    std::string device_;
    fs::path point_;
    FileDriver folder_;
};

Task<void> create_on_device(RealLoop& loop, const FileSystem& kind, std::string sr_uuid,
                            DeviceConfig config) {
    const std::string device = device_of(config);
    Command format;
    format.argv = kind.format;
    format.argv.push_back(kind.uuid_option + checked_uuid(sr_uuid));
    format.argv.push_back(device);
    const Output output = co_await run_command(loop, std::move(format), format_limit);
    if (output.status != 0) throw backend_failure(Failure::sr_create_failed, output.err);
    const fs::path point = mount_point(sr_uuid);
    co_await blocking(loop, [&kind, device, point] { mount_device(kind, device, point); });
    co_await create_folder_sr(loop, sr_uuid, point);
    co_await blocking(loop, [point] { unmount(point); });
}

Task<void> destroy_on_device(RealLoop& loop, const FileSystem& kind, std::string sr_uuid,
                             DeviceConfig config) {
    const std::string device = device_of(config);
    const fs::path point = mount_point(sr_uuid);
    co_await blocking(loop, [point] { unmount(point); });
    Command wipe;
    wipe.argv = {"wipefs", "-q", "-a", "-t", kind.name, device};
    const Output output = co_await run_command(loop, std::move(wipe), 60s);
    if (output.status != 0) throw backend_failure(Failure::sr_delete_failed, output.err);
}

Task<std::string> probe_device(RealLoop& loop, const FileSystem& kind, DeviceConfig config) {
    Command ask;
    ask.argv = {"blkid", "-p", "-o", "export", device_of(config)};
    const Output output = co_await run_command(loop, std::move(ask), 60s);
    std::map<std::string, std::string> facts;
    for (const auto& part : std::views::split(output.out, '\n')) {
        const std::string line(part.begin(), part.end());
        if (const auto at = line.find('='); at != std::string::npos)
            facts.emplace(line.substr(0, at), line.substr(at + 1));
    }
    const bool ours = facts["LABEL"] == label || facts["LABEL"] == label_of_installer;
    if (!ours || facts["TYPE"] != kind.name) co_return "<SRlist></SRlist>";
    co_return "<SRlist><SR><UUID>" + facts["UUID"] + "</UUID></SR></SRlist>";
}

Kind device_kind(RealLoop& loop, const FileSystem& file_system) {
    Kind kind;
    kind.facts.type = file_system.type;
    kind.facts.name = "Local " + file_system.title;
    kind.facts.description =
        "Disks are qcow2 images in a file system of " + file_system.title + " on a local device";
    kind.facts.vendor = "Basalt";
    kind.facts.version = "1.0";
    kind.facts.capabilities = qcow2_capabilities();
    kind.facts.configuration = {{"device", "local block device path"}};
    kind.make = [&](std::string sr_uuid, DeviceConfig config) -> std::unique_ptr<Driver> {
        return std::make_unique<DeviceDriver>(loop, file_system, std::move(sr_uuid),
                                              device_of(config));
    };
    kind.create = [&](std::string sr_uuid, DeviceConfig config) {
        return create_on_device(loop, file_system, std::move(sr_uuid), std::move(config));
    };
    kind.destroy = [&](std::string sr_uuid, DeviceConfig config) {
        return destroy_on_device(loop, file_system, std::move(sr_uuid), std::move(config));
    };
    kind.probe = [&](DeviceConfig config) {
        return probe_device(loop, file_system, std::move(config));
    };
    return kind;
}

}  // namespace

Kind ext_kind(RealLoop& loop) {
    return device_kind(loop, ext4);
}

Kind xfs_kind(RealLoop& loop) {
    return device_kind(loop, xfs);
}

}  // namespace basalt::sm
