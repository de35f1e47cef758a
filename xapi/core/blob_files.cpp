#include "xapi/core/blob_files.hpp"

#include <filesystem>
#include <system_error>

#include "idl/records/blob.hpp"

namespace basalt::core {

namespace {

std::filesystem::path folder_of(const Core& core) {
    return std::filesystem::path(core.files) / "blobs";
}

}  // namespace

std::string blob_file(const Core& core, const std::string& uuid) {
    return core.files.empty() ? std::string() : (folder_of(core) / uuid).string();
}

void sweep_blob_files(const Core& core) {
    if (core.files.empty()) return;
    std::error_code failed;
    std::filesystem::create_directories(folder_of(core), failed);
    for (const auto& entry : std::filesystem::directory_iterator(folder_of(core), failed))
        if (!core.db.by_uuid<xenapi::Blob>(entry.path().filename().string()))
            std::filesystem::remove(entry.path(), failed);
}

}  // namespace basalt::core
