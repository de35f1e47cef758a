#pragma once
#include <sys/types.h>

#include <filesystem>
#include <string_view>

/// Files that an acknowledgement may rest on: what these functions return from outlives a power
/// cut. All block, and throw std::system_error.
namespace basalt {

/// After a file was made, renamed or removed in the folder.
void sync_folder(const std::filesystem::path& folder);

/// With its content, in the same file system.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// In one step: readers see the old text or the new one. Goes by way of `PATH.new`.
void write_durably(const std::filesystem::path& path, std::string_view text, mode_t mode = 0600);

}  // namespace basalt
