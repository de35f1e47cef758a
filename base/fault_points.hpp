#pragma once
#include <string>

namespace basalt {

/// For tests that kill daemons: a folder in which a process notes the named moments that it comes
/// to (file `seen`, a line each), and in which the file `die` may name one: there the process
/// removes the file and ends by SIGKILL. Off by default (`--fault-points`); it reads and writes
/// files on the loop's thread.
class FaultPoints {
  public:
    explicit FaultPoints(std::string folder) : folder_(std::move(folder)) {}

    void reach(const std::string& moment) const;

  private:
    std::string folder_;
};

}  // namespace basalt
