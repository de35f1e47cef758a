#pragma once
#include <map>

#include "base/loop.hpp"
#include "storage-manager/sim/sim_world.hpp"

namespace basalt::sm::sim {

/// A driver over the World, with the same rules as the ones over real storage. Every verb takes a
/// little virtual time, so that a seed finds the orders that matter.
class SimDriver final : public Driver, public Snapshots, public Resizer {
  public:
    SimDriver(Loop& loop, SharedWorld world, std::string repository, std::string sr_uuid);

    Task<agent::SrInfo> attach() override;
    Task<void> detach() override;
    Task<agent::SrContents> scan() override;
    Task<agent::VdiInfo> stat(Location vdi) override;
    Task<agent::VdiInfo> create(agent::VdiSpec spec) override;
    Task<void> destroy(Location vdi) override;
    Task<Attachment> open(Location vdi, agent::Access access) override;
    Task<void> close(Location vdi) override;

    Snapshots* snapshots() override { return this; }

    Resizer* resizer() override { return this; }

    Task<Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec) override;
    Task<agent::VdiInfo> snapshot_commit(std::string token) override;
    Task<void> snapshot_abort(std::string token) override;
    Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec) override;
    Task<agent::VdiInfo> revert(Location vdi, Location snapshot) override;
    Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes) override;

  private:
    Task<void> pause();
    Repository& repository();
    SimDisk& disk(const Location& vdi);
    std::string make_image(const std::string& backing, std::int64_t size_bytes);
    agent::VdiInfo add(const agent::VdiSpec& spec, const std::string& image);
    agent::VdiInfo describe(const std::string& uuid, const SimDisk& disk) const;
    agent::SrInfo measure();
    std::int64_t used_bytes();
    std::string freeze(const Location& vdi);
    /// An image with the disk's content, which nobody writes to any more.
    std::string frozen_content(const Location& vdi);
    void collect_garbage();
    [[nodiscard]] std::size_t chain_length(const std::string& image) const;

    Loop& loop_;
    SharedWorld world_;
    std::string name_;
    std::string sr_uuid_;
    std::map<std::string, agent::Access> open_;
};

/// `type` with the device_config keys of the real driver of that name.
Kind sim_kind(Loop& loop, SharedWorld world, const std::string& type);

}  // namespace basalt::sm::sim
