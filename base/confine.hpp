#pragma once
#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/cell.hpp"
#include "base/cgroup.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt {

/// The process that a cell's `pid_file` names, or -1 when that has ended (another may have its
/// number since). Blocks.
pid_t process_of(const std::string& pid_file);

/// A number of its own for whatever is confined together, such as a VM: no two that are held have
/// the same. Loop only.
class Slots {
  public:
    /// Two users a slot, from `uid_first` on. What has which slot is kept in `file`, so that a
    /// daemon that restarts gives nobody the users of what runs on. Reads it now.
    struct Range {
        uid_t uid_first = 0;
        std::size_t count = 0;
        std::string file;
    };

    Slots(RealLoop& loop, Range range);

    class Held {
      public:
        Held(uid_t first, std::shared_ptr<int> use) : first_(first), use_(std::move(use)) {}

        /// QEMU's user, and that of what serves its disks.
        [[nodiscard]] uid_t guest() const { return first_; }

        [[nodiscard]] uid_t storage() const { return first_ + 1; }

      private:
        uid_t first_;
        std::shared_ptr<int> use_;
    };

    /// Throws INTERNAL_ERROR when all are held, or when the file cannot be written.
    Task<Held> hold(std::string key);

  private:
    struct Slot {
        std::size_t number = 0;
        std::weak_ptr<int> use;
    };

    [[nodiscard]] std::size_t free_number() const;
    [[nodiscard]] std::string text() const;

    RealLoop& loop_;
    Range range_;
    ObjectQueue queue_;
    std::map<std::string, Slot> slots_;
};

/// What hostd confines with: one for all its rooms.
struct Confinement {
    struct Config {
        std::string launcher;
        std::string cgroup = "basalt";
        Slots::Range slots;
    };

    Confinement(RealLoop& loop, const Config& config)
        : launcher(config.launcher), groups(config.cgroup), slots(loop, config.slots) {}

    std::string launcher;
    Cgroups groups;
    Slots slots;
};

}  // namespace basalt
