#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/sim/sim_world.hpp"

namespace basalt::sm::sim {

/// Serves disks of a World. Guests of the simulator read and write blocks through it.
/// What it serves outlives the manager, as storage daemons outlive hostd: give the same object to
/// the next manager.
class SimDisks {
  public:
    explicit SimDisks(SharedWorld world) : world_(std::move(world)) {}

    using Plug = std::pair<std::string, std::string>;  // VM, device

    /// VDI_IO_ERROR when the disk is not served, read-only or smaller.
    void write(const Plug& plug, std::uint64_t block, std::uint64_t value);
    [[nodiscard]] std::uint64_t read(const Plug& plug, std::uint64_t block) const;
    /// What is served now.
    [[nodiscard]] std::vector<Plug> plugs() const;

  private:
    friend class SimDatapath;

    struct Served {
        std::string leaf;
        bool writable = false;
    };

    [[nodiscard]] const Served& at(const Plug& plug) const;

    SharedWorld world_;
    std::map<Plug, Served> served_;
};

/// Durable texts of one simulated host.
class SimState {
  public:
    std::string text;
};

/// The same Manager as on a real host over drivers `file`, `ext`, `iso`, `nfs` of `world`, a
/// simulated datapath and simulated copies. Streams and NBD sockets need descriptors, which a
/// simulation has not: those three verbs throw NOT_IMPLEMENTED. `disks` and `state` must outlive
/// it.
std::shared_ptr<Storage> sim_storage(Loop& loop, SharedWorld world, std::shared_ptr<SimDisks> disks,
                                     std::shared_ptr<SimState> state);

}  // namespace basalt::sm::sim
