// The manager over simulated storage: the same code as on a host, under virtual time.
#include "storage-manager/sim/sim_storage.hpp"

#include <gtest/gtest.h>

#include "base/sim_loop.hpp"
#include "base/wait.hpp"

namespace basalt::sm::sim {
namespace {

constexpr std::int64_t mib = 1024 * 1024;
const std::string sr = "5e000000-0000-4000-8000-000000000001";
const std::string disk_a = "aa000000-0000-4000-8000-00000000000a";
const std::string disk_b = "bb000000-0000-4000-8000-00000000000b";
const std::string disk_c = "cc000000-0000-4000-8000-00000000000c";
const SimDisks::Plug plug{"f0000000-0000-4000-8000-00000000000f", "xvda"};

agent::VdiSpec spec_of(const std::string& uuid, std::int64_t size) {
    agent::VdiSpec spec;
    spec.uuid = uuid;
    spec.size_bytes = size;
    return spec;
}

struct Host {
    Host(SimLoop& owner, SharedWorld shared) : loop(owner), world(std::move(shared)) { boot(); }

    void boot() {
        storage.reset();
        storage = sim_storage(loop, world, disks, state);
    }

    SimLoop& loop;
    SharedWorld world;
    std::shared_ptr<SimDisks> disks = std::make_shared<SimDisks>(world);
    std::shared_ptr<SimState> state = std::make_shared<SimState>();
    std::shared_ptr<Storage> storage;
};

void run(SimLoop& loop, Task<void> body) {
    const auto job = spawn(loop, "test", std::move(body));
    ASSERT_TRUE(loop.run_until([job] { return job->finished(); }, 24h));
    if (job->failure()) std::rethrow_exception(job->failure());
}

Task<void> attach(Host& host, std::string type) {
    agent::SrAttachArgs args;
    args.uuid = sr;
    args.type = type;
    args.device_config = {{"location", "/shared"}};
    co_await host.storage->sr_attach(args);
}

Task<void> open(Host& host, std::string vdi) {
    agent::DiskSpec spec;
    spec.device = plug.second;
    spec.access = agent::Access::rw;
    spec.disk = {sr, vdi, vdi};
    co_await host.storage->open_disk(plug.first, spec);
}

Task<void> live_snapshot(Host& host) {
    co_await attach(host, "file");
    co_await host.storage->vdi_create({sr, spec_of(disk_a, 8 * mib)});
    co_await open(host, disk_a);
    host.disks->write(plug, 3, 33);
    co_await host.storage->vdi_snapshot({{sr, disk_a, disk_a}, spec_of(disk_b, 0), plug.first});
    host.disks->write(plug, 3, 34);
    EXPECT_EQ(host.disks->read(plug, 3), 34U);
    co_await host.storage->close_all(plug.first);
    co_await open(host, disk_b);
    EXPECT_EQ(host.disks->read(plug, 3), 33U);
}

TEST(SimStorage, a_live_snapshot_keeps_what_was_there) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SimLoop loop(seed);
        Host host(loop, std::make_shared<World>());
        run(loop, live_snapshot(host));
    }
}

Task<void> restart(Host& host) {
    co_await attach(host, "file");
    co_await host.storage->vdi_create({sr, spec_of(disk_a, 8 * mib)});
    co_await open(host, disk_a);
    host.boot();
    co_await host.storage->adopt();
    EXPECT_EQ(host.storage->vms(), std::vector<std::string>{plug.first});
    host.disks->write(plug, 1, 5);
    co_await host.storage->close_all(plug.first);
    co_await host.storage->vdi_destroy({{sr, disk_a, disk_a}});
    const auto contents = co_await host.storage->sr_scan({sr});
    EXPECT_TRUE(contents.vdis.empty());
}

TEST(SimStorage, a_new_hostd_finds_what_the_old_one_had) {
    SimLoop loop(7);
    Host host(loop, std::make_shared<World>());
    run(loop, restart(host));
}

Task<void> shared(Host& one, Host& two) {
    co_await attach(one, "nfs");
    co_await attach(two, "nfs");
    co_await one.storage->vdi_create({sr, spec_of(disk_a, 8 * mib)});
    const auto seen = co_await two.storage->sr_scan({sr});
    EXPECT_EQ(seen.vdis.size(), 1U);
    co_await open(one, disk_a);
    one.disks->write(plug, 1, 5);
    co_await one.storage->close_all(plug.first);
    co_await open(two, disk_a);
    EXPECT_EQ(two.disks->read(plug, 1), 5U);
}

TEST(SimStorage, hosts_see_one_shared_sr) {
    SimLoop loop(8);
    const auto world = std::make_shared<World>();
    Host one(loop, world);
    Host two(loop, world);
    run(loop, shared(one, two));
}

Task<void> copy(Host& host) {
    co_await attach(host, "file");
    co_await host.storage->vdi_create({sr, spec_of(disk_a, 8 * mib)});
    agent::VdiCopyArgs args{{sr, disk_a, disk_a}, sr, spec_of(disk_b, 0)};
    co_await host.storage->vdi_copy(args, {});
}

Task<void> copy_over(Host& host) {
    co_await attach(host, "file");
    co_await host.storage->vdi_create({sr, spec_of(disk_a, 8 * mib)});
    co_await open(host, disk_a);
    host.disks->write(plug, 1, 5);
    host.disks->write(plug, 2, 6);
    co_await host.storage->close_all(plug.first);
    agent::VdiCopyArgs args{{sr, disk_a, disk_a}, sr, spec_of(disk_b, 0)};
    co_await host.storage->vdi_copy(args, {});
    co_await open(host, disk_a);
    host.disks->write(plug, 2, 7);
    co_await host.storage->close_all(plug.first);
    co_await open(host, disk_b);
    host.disks->write(plug, 1, 9);  // where the two others agree
    host.disks->write(plug, 3, 9);
    co_await host.storage->close_all(plug.first);
    // The difference of a disk to an older copy of it goes to that copy.
    args = {{sr, disk_a, disk_a}, sr, {}};
    args.into = agent::DiskRef{sr, disk_b, disk_b};
    co_await host.storage->vdi_create({sr, spec_of(disk_c, 8 * mib)});
    args.base = agent::DiskRef{sr, disk_c, disk_c};
    co_await host.storage->vdi_copy(args, {});
    co_await open(host, disk_b);
    EXPECT_EQ(host.disks->read(plug, 1), 5U);
    EXPECT_EQ(host.disks->read(plug, 2), 7U);
    EXPECT_EQ(host.disks->read(plug, 3), 9U);  // zero in the disk and in the base
    co_await host.storage->close_all(plug.first);
    args.base = std::nullopt;
    co_await host.storage->vdi_copy(args, {});
    co_await open(host, disk_b);
    EXPECT_EQ(host.disks->read(plug, 3), 0U);
}

TEST(SimStorage, a_copy_over_a_disk_is_whole_or_a_difference) {
    SimLoop loop(10);
    Host host(loop, std::make_shared<World>());
    run(loop, copy_over(host));
}

Task<void> count(Host& host, std::size_t& out) {
    const auto contents = co_await host.storage->sr_scan({sr});
    out = contents.vdis.size();
}

TEST(SimStorage, a_cancelled_copy_leaves_nothing) {
    SimLoop loop(9);
    Host host(loop, std::make_shared<World>());
    const auto job = spawn(loop, "copy", copy(host));
    loop.at(loop.now() + 500ms, [job] { job->cancel(); });
    loop.run_for(1min);
    EXPECT_TRUE(is_cancellation(job->failure()));
    std::size_t left = 0;
    run(loop, count(host, left));
    EXPECT_EQ(left, 1U);
}

}  // namespace
}  // namespace basalt::sm::sim
