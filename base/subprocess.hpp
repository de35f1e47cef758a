#pragma once
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt {

/// A program to run, without a shell. Descriptors 0, 1, 2 are /dev/null unless given; others are
/// not inherited.
struct Command {
    std::vector<std::string> argv;
    /// `NAME=value` on top of the inherited environment.
    std::vector<std::string> env;
    std::string directory;

    /// The child sees `fd` as number `as`.
    struct Inherit {
        int fd;
        int as;
    };

    std::vector<Inherit> inherit;
    /// A session of its own, so that it outlives this process.
    bool detached = false;
};

/// A process known by a pidfd; it need not be our child.
class Process {
  public:
    Process(RealLoop& loop, pid_t pid, UniqueFd pidfd, bool child);

    [[nodiscard]] pid_t pid() const { return pid_; }

    /// Returns when it has ended: exit status, 128 + signal, or -1 when it was not our child.
    Task<int> wait();
    /// Sends a signal; ignored when it has ended.
    void kill(int signal);

  private:
    RealLoop& loop_;
    pid_t pid_;
    UniqueFd pidfd_;
    bool child_;
    bool reaped_ = false;
    int status_ = -1;
};

/// Throws system_error when the program cannot be started.
std::unique_ptr<Process> start_process(RealLoop& loop, const Command& command);
/// A process that somebody else started; null when there is none with this pid.
std::unique_ptr<Process> adopt_process(RealLoop& loop, pid_t pid);

struct Output {
    int status = 0;
    std::string out;
    std::string err;
};

/// Runs to the end and collects both outputs, 16 MiB each at most. When `limit` passes, or the
/// caller is cancelled, the process is killed; the former throws INTERNAL_ERROR.
Task<Output> run_command(RealLoop& loop, Command command, Duration limit, std::string input = {});

}  // namespace basalt
