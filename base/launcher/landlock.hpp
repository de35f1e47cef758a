#pragma once
#include <string>

#include "base/cell.hpp"

namespace basalt::launcher {

/// Ends the launcher with what was wrong.
[[noreturn]] void fail(const std::string& why);
[[noreturn]] void fail_errno(const std::string& what);

/// The rules of what the cell may open and run, as a descriptor; -1 when the kernel has no
/// Landlock. Call it while all files can still be opened.
int file_rules(const Cell& cell, const std::string& program);
/// From here on they hold, for every program below too.
void enforce(int rules);

}  // namespace basalt::launcher
