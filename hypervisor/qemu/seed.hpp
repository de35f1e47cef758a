#pragma once
#include <string>

#include "agent_values.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"

/// The drive from which cloud-init in a guest reads what the guest shall be: a FAT file system that
/// mtools make, of one size, so that a saved guest finds the same drive whatever is in it.
namespace basalt::hv::qemu {

constexpr std::int64_t seed_bytes = std::int64_t{4} << 20;

/// Writes the image to `path`; what was there before goes. Throws INTERNAL_ERROR with the words of
/// the tool, INVALID_VALUE [name] for a file name that is none.
Task<void> make_seed(RealLoop& loop, std::string path, agent::SeedDrive seed);

}  // namespace basalt::hv::qemu
