#pragma once
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/real_loop.hpp"

namespace basalt::agent {

/// Starts `program` (a login) as leader of a session on a new pseudo-terminal of 80 by 24, and
/// returns the terminal's other side: what is written there is typed. Closing it hangs the session
/// up; the end of the session reads as the end of the stream. Throws INTERNAL_ERROR when there is
/// no terminal, system_error when the program cannot be started. Loop only.
UniqueFd open_terminal(RealLoop& loop, const std::vector<std::string>& program);

}  // namespace basalt::agent
