#pragma once
#include <string>
#include <vector>

#include "tests/sim/sim_pool.hpp"

namespace basalt::testing {

/// What is wrong in a pool at rest (every host ready, no call under way, leftovers retried), each
/// as a sentence; empty: nothing. The records refer to nothing that is not there and say that
/// nothing is under way; guests, disks, ports, VLANs and suspend images of the simulated world are
/// exactly those of the records; no host keeps a leftover, an operation or a result.
std::vector<std::string> broken(SimPool& pool);

/// The same as one text, with a line a finding.
std::string broken_text(SimPool& pool);

}  // namespace basalt::testing
