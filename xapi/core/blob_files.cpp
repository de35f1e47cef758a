#include "xapi/core/blob_files.hpp"

#include <filesystem>
#include <system_error>

#include "idl/records/blob.hpp"
#include "idl/records/host.hpp"

namespace basalt::core {

namespace {

std::filesystem::path folder_of(const Core& core) {
    return std::filesystem::path(core.files) / "blobs";
}

}  // namespace

bool keeps_blobs(const Core& core) {
    const xenapi::Host* host = core.db.find(core.this_host);
    return host == nullptr || host->other_config.get(std::string(no_local_storage)) != "true";
}

std::string blob_file(const Core& core, const std::string& uuid) {
    return core.files.empty() ? std::string() : (folder_of(core) / uuid).string();
}

void sweep_blob_files(const Core& core) {
    if (core.files.empty()) return;
    std::error_code failed;
    const bool none = !keeps_blobs(core);
    std::filesystem::create_directories(folder_of(core), failed);
    for (const auto& entry : std::filesystem::directory_iterator(folder_of(core), failed))
        if (none || !core.db.by_uuid<xenapi::Blob>(entry.path().filename().string()))
            std::filesystem::remove(entry.path(), failed);
}

void remove_blob_files(const Core& core) {
    if (core.files.empty()) return;
    std::error_code failed;
    for (const auto& entry : std::filesystem::directory_iterator(folder_of(core), failed))
        if (Uuid::parse(entry.path().filename().string()))
            std::filesystem::remove(entry.path(), failed);
}

}  // namespace basalt::core
