#include "storage-manager/api/driver.hpp"

#include <algorithm>

#include "base/uuid.hpp"

namespace basalt::sm {

namespace {

const char* meaning(Failure what) {
    switch (what) {
        case Failure::invalid_argument:
            return "Invalid argument";
        case Failure::sr_in_use:
            return "The SR device is currently in use";
        case Failure::locked:
            return "The lock/unlock request failed";
        case Failure::sr_not_empty:
            return "The SR is not empty";
        case Failure::scan_failed:
            return "The SR scan failed";
        case Failure::sr_exists:
            return "The SR already exists";
        case Failure::vdi_exists:
            return "The VDI already exists";
        case Failure::no_space:
            return "There is insufficient space";
        case Failure::vdi_unavailable:
            return "The VDI is not available";
        case Failure::sr_unavailable:
            return "The SR is not available";
        case Failure::unknown_type:
            return "Unknown repository type";
        case Failure::sr_create_failed:
            return "File SR creation error";
        case Failure::sr_delete_failed:
            return "File SR deletion error";
        case Failure::vdi_remove_failed:
            return "Failed to remove VDI";
        case Failure::vdi_create_failed:
            return "VDI Creation failed";
        case Failure::vdi_size:
            return "VDI Invalid size";
        case Failure::clone_failed:
            return "Failed to clone VDI";
        case Failure::snapshot_failed:
            return "Failed to snapshot VDI";
        case Failure::device_missing:
            return "The request is missing the device parameter";
        case Failure::device_invalid:
            return "The device is not a valid path";
        case Failure::location_missing:
            return "The request is missing the location parameter";
        case Failure::chain_too_long:
            return "The snapshot chain is too long";
        case Failure::iso_location_missing:
            return "'Location' parameter must be specified in Device Configuration";
        case Failure::iso_extension:
            return "ISO name must have .iso extension";
        case Failure::mount_failed:
            return "Could not mount the directory specified in Device Configuration";
        case Failure::iso_location_form:
            return "Incorrect Location string format. String must be in the format SERVER:PATH "
                   "for NFS targets";
        case Failure::iso_local_path:
            return "Invalid local path";
    }
    return "Storage failure";
}

}  // namespace

ApiError backend_failure(Failure what, const std::string& detail) {
    std::string text = meaning(what);
    if (!detail.empty()) text += " [opterr=" + detail + "]";
    return ApiError("SR_BACKEND_FAILURE_" + std::to_string(static_cast<unsigned>(what)),
                    {"", text, ""});
}

std::string checked_uuid(const std::string& text) {
    const auto uuid = Uuid::parse(text);
    if (!uuid || uuid->text() != text)
        throw backend_failure(Failure::vdi_unavailable, "not a uuid: " + text.substr(0, 64));
    return text;
}

std::string checked_path(const std::string& text, Failure missing) {
    const bool control = std::ranges::any_of(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    std::string path = text;
    while (path.size() > 1 && path.ends_with('/'))
        path.pop_back();
    const std::string parts = path + "/";
    if (control || !path.starts_with('/') || path == "/" || path.size() > 1000 ||
        parts.find("//") != std::string::npos || parts.find("/./") != std::string::npos ||
        parts.find("/../") != std::string::npos)
        throw backend_failure(missing, "not a plain absolute path");
    return path;
}

}  // namespace basalt::sm
