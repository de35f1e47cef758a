#include "storage-manager/sim/sim_storage.hpp"

#include <set>

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/changes.hpp"
#include "storage-manager/manager/manager.hpp"
#include "storage-manager/sim/sim_driver.hpp"
#include "storage-manager/worker/kinds.hpp"

namespace basalt::sm::sim {

class SimDatapath final : public Datapath {
  public:
    SimDatapath(Loop& loop, SharedWorld world, std::shared_ptr<SimDisks> disks)
        : loop_(loop), world_(std::move(world)), disks_(std::move(disks)) {}

    Task<std::vector<Served>> adopt() override {
        co_await pause();
        std::vector<Served> out;
        for (const auto& [plug, served] : disks_->served_)
            out.push_back({plug.first, plug.second});
        co_return out;
    }

    Task<DiskServer> open(std::string vm, std::string device, Attachment disk) override {
        co_await pause();
        const SimDisks::Plug plug{vm, device};
        if (!disks_->served_.contains(plug)) {
            if (disk.chain.empty()) throw backend_failure(Failure::vdi_unavailable, device);
            disks_->served_[plug] = {disk.chain.front().path, !disk.read_only};
        }
        co_return DiskServer{"sim:" + vm, device};
    }

    Task<void> close(std::string vm, std::string device) override {
        co_await pause();
        disks_->served_.erase({vm, device});
    }

    Task<void> close_all(std::string vm) override {
        co_await pause();
        std::erase_if(disks_->served_, [&vm](const auto& one) { return one.first.first == vm; });
    }

    Task<std::optional<ApiError>> switch_leaf(std::string vm, std::string device,
                                              Image leaf) override {
        co_await pause();
        const auto found = disks_->served_.find({vm, device});
        if (found == disks_->served_.end())
            co_return backend_failure(Failure::snapshot_failed, device + " is not served");
        found->second.leaf = leaf.path;
        co_return std::nullopt;
    }

    Task<void> resize(std::string vm, std::string device, std::int64_t size_bytes) override {
        co_await pause();
        world_->images.at(disks_->served_.at({vm, device}).leaf).size_bytes = size_bytes;
    }

  private:
    Task<void> pause() { co_await sleep_for(loop_, Duration(1 + loop_.random() % 5'000'000)); }

    Loop& loop_;
    SharedWorld world_;
    std::shared_ptr<SimDisks> disks_;
};

namespace {

constexpr int copy_steps = 10;

class SimTransfer final : public Transfer {
  public:
    SimTransfer(Loop& loop, SharedWorld world) : loop_(loop), world_(std::move(world)) {}

    Task<void> copy(Copy what, rpc::Progress progress) override {
        for (int step = 1; step <= copy_steps; ++step) {
            co_await sleep_for(loop_, 100ms);
            if (progress) progress(static_cast<double>(step) / copy_steps);
        }
        const std::string& from = what.from.chain.front().path;
        std::set<std::uint64_t> candidates = written_blocks(what.from);
        candidates.merge(written_blocks(what.base ? *what.base : what.to));
        const auto end =
            static_cast<std::uint64_t>(world_->images.at(from).size_bytes / block_bytes);
        for (const std::uint64_t block : candidates) {
            const std::uint64_t value = world_->read(from, block);
            const bool same =
                what.base && value == world_->read(what.base->chain.front().path, block);
            if (block < end && !same)
                world_->images.at(what.to.chain.front().path).blocks[block] = value;
        }
    }

    Task<std::string> changes(Attachment disk, Attachment base, Window window) override {
        co_await sleep_for(loop_, 10ms);
        std::set<std::uint64_t> candidates = written_blocks(disk);
        candidates.merge(written_blocks(base));
        constexpr auto extent_bytes = static_cast<std::uint64_t>(block_bytes);
        std::vector<Extent> extents;
        for (const std::uint64_t block : candidates)
            if (world_->read(disk.chain.front().path, block) !=
                world_->read(base.chain.front().path, block))
                extents.push_back({block * extent_bytes, extent_bytes});
        co_return block_bits(joined(std::move(extents), {}, window.offset + window.length),
                             window.offset, window.length);
    }

    Task<UniqueFd> serve(Attachment, Ended ended) override { return refuse(std::move(ended)); }

    Task<UniqueFd> send(Sent, Ended ended) override { return refuse(std::move(ended)); }

    Task<UniqueFd> receive(Disk, std::string, Ended ended) override {
        return refuse(std::move(ended));
    }

  private:
    [[nodiscard]] std::set<std::uint64_t> written_blocks(const Attachment& disk) const {
        std::set<std::uint64_t> out;
        for (const Image& image : disk.chain)
            for (const auto& [block, value] : world_->images.at(image.path).blocks)
                out.insert(block);
        return out;
    }

    static Task<UniqueFd> refuse(Ended ended) {
        ended();
        throw err::not_implemented("a stream of a simulated disk");
        co_return UniqueFd();
    }

    Loop& loop_;
    SharedWorld world_;
};

class MemoryState final : public StateStore {
  public:
    explicit MemoryState(std::shared_ptr<SimState> state) : state_(std::move(state)) {}

    Task<std::string> load() override { co_return state_->text; }

    Task<void> save(std::string text) override {
        state_->text = std::move(text);
        co_return;
    }

  private:
    std::shared_ptr<SimState> state_;
};

}  // namespace

void SimDisks::write(const Plug& plug, std::uint64_t block, std::uint64_t value) {
    const Served& served = at(plug);
    SimImage& image = world_->images.at(served.leaf);
    if (!served.writable || static_cast<std::int64_t>(block) >= image.size_bytes / block_bytes)
        throw err::vdi_io_error(plug.second);
    image.blocks[block] = value;
}

std::uint64_t SimDisks::read(const Plug& plug, std::uint64_t block) const {
    return world_->read(at(plug).leaf, block);
}

std::vector<SimDisks::Plug> SimDisks::plugs() const {
    std::vector<Plug> out;
    for (const auto& [plug, served] : served_)
        out.push_back(plug);
    return out;
}

const SimDisks::Served& SimDisks::at(const Plug& plug) const {
    const auto found = served_.find(plug);
    if (found == served_.end()) throw err::vdi_io_error(plug.second);
    return found->second;
}

std::shared_ptr<Storage> sim_storage(Loop& loop, SharedWorld world, std::shared_ptr<SimDisks> disks,
                                     std::shared_ptr<SimState> state) {
    auto kinds = std::make_unique<Kinds>();
    for (const char* type : {"ext", "file", "iso", "nfs"})
        kinds->add(sim_kind(loop, world, type));
    Manager::Parts parts;
    parts.drivers = std::move(kinds);
    parts.datapath = std::make_unique<SimDatapath>(loop, world, std::move(disks));
    parts.transfer = std::make_unique<SimTransfer>(loop, world);
    parts.state = std::make_unique<MemoryState>(std::move(state));
    return std::make_shared<Manager>(loop, std::move(parts));
}

}  // namespace basalt::sm::sim
