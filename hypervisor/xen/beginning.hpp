#pragma once

namespace basalt::hv::xen {

/// Throws INTERNAL_ERROR unless what comes from `source` begins as a saved guest does. Takes
/// nothing away from it: a file, a pipe or a socket. Blocks until the first bytes are there, for a
/// minute at most.
///
/// libxl 4.20 calls a null pointer when a stream that it reads fails before its helper has begun.
void require_saved_guest(int source);

}  // namespace basalt::hv::xen
