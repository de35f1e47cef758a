#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

/// Programs that touch what guests made (QEMU, its storage daemon, converters) run with nothing but
/// what they are given: a user of their own, no capabilities, a view of few files (Landlock), few
/// system calls (seccomp), a group with limits. `launcher/main.cpp` does it between fork and exec.
/// docs/decisions/0004 says why so.
namespace basalt {

/// What a program may keep. The default is: nothing.
struct Cell {
    /// User and group of the same number; 0 stays root, which then has `capabilities` at most.
    uid_t uid = 0;
    /// As capabilities(7) names them, without CAP_.
    std::vector<std::string> capabilities;
    /// Files into which the process writes itself: `Cgroups::make` gives them.
    std::vector<std::string> groups;
    /// Beside the programs and libraries of the system: files, or folders with all below.
    std::vector<std::string> readable;
    std::vector<std::string> writable;
    /// Of root only: every file, as before; a driver mounts, which Landlock forbids.
    bool all_files = false;
    /// Sockets other than unix ones.
    bool network = false;
    /// It may hear which devices come and go, as the kernel tells everybody (uevents).
    bool device_events = false;
    /// Gets `PID START` (as /proc/PID/stat counts) before the program begins. Empty: none.
    std::string pid_file;
    /// A single file that it writes can grow to. 0: no limit.
    std::int64_t file_bytes_max = 0;
    std::int64_t open_files_max = 4096;
};

/// The command that runs `argv` in the cell. `launcher` is the path of the program `confine`.
std::vector<std::string> confined(const std::string& launcher, const Cell& cell,
                                  const std::vector<std::string>& argv);

}  // namespace basalt
