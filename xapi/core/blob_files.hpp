#pragma once
#include <cstdint>
#include <string>

#include "xapi/core/core.hpp"

/// Where the bytes of blobs lie: a file each, named by the blob's uuid.
namespace basalt::core {

/// Of one blob.
constexpr std::uint64_t blob_bytes_max = std::uint64_t{256} << 20;

/// Key of host.other_config: the host keeps no bytes of blobs.
inline constexpr const char* no_local_storage = "no_local_storage";

/// Whether this host keeps them (host.disable_binary_storage).
[[nodiscard]] bool keeps_blobs(const Core& core);

/// The file of a blob; "" while there is no folder for such files (a simulated pool).
[[nodiscard]] std::string blob_file(const Core& core, const std::string& uuid);

/// Removes the files of blobs that are not in the records (all, where none are kept), and what a
/// kill left of uploads. Blocks; start-up only.
void sweep_blob_files(const Core& core);

/// Removes the files of all blobs; uploads under way go on, and put theirs there. Blocks.
void remove_blob_files(const Core& core);

}  // namespace basalt::core
