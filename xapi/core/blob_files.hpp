#pragma once
#include <cstdint>
#include <string>

#include "xapi/core/core.hpp"

/// Where the bytes of blobs lie: a file each, named by the blob's uuid.
namespace basalt::core {

/// Of one blob.
constexpr std::uint64_t blob_bytes_max = std::uint64_t{256} << 20;

/// The file of a blob; "" while there is no folder for such files (a simulated pool).
[[nodiscard]] std::string blob_file(const Core& core, const std::string& uuid);

/// Removes the files of blobs that are not in the records, and what a kill left of uploads. Blocks;
/// start-up only.
void sweep_blob_files(const Core& core);

}  // namespace basalt::core
