#pragma once
#include "base/cell.hpp"

namespace basalt::launcher {

/// Takes away the system calls that no confined program needs: namespaces and mounts, other
/// processes' memory, the kernel's own set-up, and sockets into networks unless the cell keeps
/// them. A forbidden call fails with EPERM. Needs no_new_privs.
void forbid_calls(const Cell& cell);

}  // namespace basalt::launcher
