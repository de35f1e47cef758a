#pragma once
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::hv::qemu {

struct Abilities {
    std::string version;  // of QEMU
    bool accelerated = false;
    std::string why;  // when not accelerated
};

/// Whether guests run under KVM here. A device that opens proves nothing, so a guest of one sector
/// runs: it must reach 64-bit mode with paging and say so within 5 s. The answer is kept in
/// `cache_file` for this boot of the host and this version of QEMU.
/// Throws INTERNAL_ERROR when there is no QEMU.
Task<Abilities> probe(RealLoop& loop, std::string program, std::string cache_file);

/// The sector, for its test.
std::string probe_sector();

}  // namespace basalt::hv::qemu
