#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace basalt {

/// What a group of processes may use. Zero: no limit.
struct CgroupLimits {
    std::int64_t memory_bytes_max = 0;
    std::int64_t pids_max = 0;
    /// Share of a busy CPU against its neighbours; 100 is everybody's default, 1 to 10000.
    std::int64_t cpu_weight = 0;
    /// Of one CPU, for all its processes together; a limit from before goes with zero.
    std::int64_t cpu_percent_max = 0;
};

/// Groups of processes that are counted and limited together, all below one group of ours, which
/// itself lies below the caller's own: what limits the caller limits them too. Both layouts of the
/// kernel are known: one tree (v2), and a tree a controller (v1). Every call blocks for some
/// microseconds (no disk is touched), none throws: a kernel without a controller limits less.
class Cgroups {
  public:
    enum class Layout : std::uint8_t { none, v1, v2 };

    /// Where the kernel shows its groups; others are for tests.
    struct Places {
        std::string mounts = "/sys/fs/cgroup";
        std::string own = "/proc/self/cgroup";
    };

    /// In the tree v2 a group with processes of its own cannot limit groups below it: the caller
    /// moves into `daemon` beside ours, as a unit with `DelegateSubgroup=daemon` has it already.
    explicit Cgroups(std::string name) : Cgroups(std::move(name), Places{}) {}

    Cgroups(std::string name, const Places& places);

    [[nodiscard]] Layout layout() const { return layout_; }

    /// Controllers that are used: memory, pids, cpu.
    [[nodiscard]] std::vector<std::string> controllers() const;

    /// Makes the group, or finds it, and sets its limits. Returns the files into which a process
    /// writes `0` to join.
    std::vector<std::string> make(const std::string& group, const CgroupLimits& limits);
    /// Absent is success; a group that still has processes stays. Empty: ours, that holds them all.
    void remove(const std::string& group);
    [[nodiscard]] std::vector<pid_t> processes(const std::string& group) const;
    /// Sends SIGKILL to all in it, those that they start meanwhile too.
    void kill(const std::string& group);

  private:
    /// One folder of ours: for the controller, or (v2) for all.
    struct Tree {
        std::string controller;
        std::string folder;
    };

    void find_v1(const Places& places);
    void find_v2(const Places& places);

    std::string name_;
    Layout layout_ = Layout::none;
    std::vector<Tree> trees_;
    std::vector<std::string> enabled_;  // v2: what the one tree can do
};

}  // namespace basalt
