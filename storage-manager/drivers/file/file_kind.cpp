#include <fcntl.h>

#include <fstream>
#include <system_error>

#include "base/json.hpp"
#include "base/uuid.hpp"
#include "storage-manager/drivers/file/file_driver.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

fs::path location_of(const DeviceConfig& config) {
    const auto location = config.find("location");
    if (location == config.end()) throw backend_failure(Failure::location_missing);
    return checked_path(location->second, Failure::location_missing);
}

fs::path marker(const fs::path& folder) {
    return folder / "sr.json";
}

void claim(const fs::path& folder, const std::string& sr_uuid) {
    std::error_code failed;
    fs::create_directory(folder, failed);  // its parent must exist: a typo makes no tree
    if (!fs::is_directory(folder, failed))
        throw backend_failure(Failure::sr_create_failed, folder.string());
    if (fs::exists(marker(folder))) {
        std::ifstream in(marker(folder));
        const Json known = Json::parse(in, nullptr, false);
        if (known.is_object() && known.value("uuid", std::string()) == sr_uuid) return;
        throw backend_failure(Failure::sr_exists, folder.string());
    }
    std::ofstream out(marker(folder));
    out << Json{{"uuid", sr_uuid}, {"layout", 1}}.dump() << "\n";
    if (!out.flush()) throw backend_failure(Failure::sr_create_failed, folder.string());
}

void disclaim(const fs::path& folder) {
    if (!fs::exists(folder)) return;
    const file::Layout layout(folder);
    const file::View view = layout.look();
    for (const auto& [uuid, disk] : view.disks)
        layout.remove_disk(uuid);
    for (const auto& [name, image] : view.images)
        if (image.ours) layout.remove_image(name);
    fs::remove(folder / ".lock");
    fs::remove(marker(folder));
    std::error_code not_empty;
    fs::remove(folder, not_empty);  // a stranger's files stay, and so does the folder
}

template <class Work>
void translated(Failure failure, const Work& work) {
    try {
        work();
    } catch (const std::system_error& error) {
        throw backend_failure(failure, error.what());
    }
}

Task<std::string> probe_folder(RealLoop& loop, DeviceConfig config) {
    const fs::path folder = location_of(config);
    const std::string uuid = co_await blocking(loop, [folder] {
        std::ifstream in(marker(folder));
        const Json known = Json::parse(in, nullptr, false);
        return known.is_object() ? known.value("uuid", std::string()) : std::string();
    });
    if (!Uuid::parse(uuid)) co_return "<SRlist></SRlist>";
    co_return "<SRlist><SR><UUID>" + uuid + "</UUID></SR></SRlist>";
}

}  // namespace

std::vector<std::string> qcow2_capabilities() {
    return {"SR_PROBE",       "SR_SCAN",        "SR_ATTACH",         "SR_DETACH",
            "VDI_CREATE",     "VDI_DELETE",     "VDI_ATTACH",        "VDI_DETACH",
            "VDI_ACTIVATE",   "VDI_CLONE",      "VDI_SNAPSHOT",      "VDI_RESIZE",
            "LARGE_VDI",      "VDI_DEACTIVATE", "THIN_PROVISIONING", "VDI_RESIZE_ONLINE",
            "VDI_CONFIG_CBT", "VDI_INTRODUCE",  "VDI_REVERT",        "SR_METADATA"};
}

Task<void> create_folder_sr(RealLoop& loop, std::string sr_uuid, fs::path folder) {
    checked_uuid(sr_uuid);
    return blocking(loop, [sr_uuid, folder] {
        translated(Failure::sr_create_failed, [&] { claim(folder, sr_uuid); });
    });
}

Task<void> destroy_folder_sr(RealLoop& loop, std::string, fs::path folder) {
    return blocking(loop,
                    [folder] { translated(Failure::sr_delete_failed, [&] { disclaim(folder); }); });
}

Kind file_kind(RealLoop& loop) {
    Kind kind;
    kind.facts.type = "file";
    kind.facts.name = "Local path";
    kind.facts.description = "Disks are qcow2 images in a folder of this host";
    kind.facts.vendor = "Basalt";
    kind.facts.version = "1.0";
    kind.facts.capabilities = qcow2_capabilities();
    kind.facts.configuration = {{"location", "absolute path of the folder"}};
    kind.make = [&loop](std::string sr_uuid, DeviceConfig config) -> std::unique_ptr<Driver> {
        return std::make_unique<FileDriver>(loop, std::move(sr_uuid), location_of(config));
    };
    kind.create = [&loop](std::string sr_uuid, DeviceConfig config) {
        return create_folder_sr(loop, std::move(sr_uuid), location_of(config));
    };
    kind.destroy = [&loop](std::string sr_uuid, DeviceConfig config) {
        return destroy_folder_sr(loop, std::move(sr_uuid), location_of(config));
    };
    kind.probe = [&loop](DeviceConfig config) { return probe_folder(loop, std::move(config)); };
    return kind;
}

}  // namespace basalt::sm
