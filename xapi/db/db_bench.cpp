// Durable writes per second: each writer changes its VM and awaits durability before the next.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>

#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "idl/records.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/store_sqlite.hpp"

namespace basalt::db {
namespace {

using xenapi::Vm;

struct World {
    World() {
        std::string name = "./db-bench-XXXXXX";
        folder = ::mkdtemp(name.data());
        store = std::make_unique<SqliteStore>(loop, SqliteOptions{.path = folder / "db"});
        db = std::make_unique<Database>(loop, *store, nullptr);
    }

    ~World() {
        db.reset();
        store.reset();
        std::filesystem::remove_all(folder);
    }

    RealLoop loop{1};
    std::filesystem::path folder;
    std::unique_ptr<SqliteStore> store;
    std::unique_ptr<Database> db;
};

struct Run {
    std::int64_t left = 0;
    int writers = 0;
};

Task<void> write_durably(World& world, Ref<Vm> vm, Run& run) {
    while (run.left-- > 0) {
        world.db->transact([&](Txn& txn) { ++txn.edit(vm).user_version; });
        co_await world.db->durable(world.db->published());
    }
    if (--run.writers == 0) world.loop.stop();
}

void durable_writes(benchmark::State& state) {
    World world;
    std::vector<Ref<Vm>> vms;
    for (std::int64_t i = 0; i < state.range(0); ++i)
        vms.push_back(world.db->transact([](Txn& txn) { return txn.insert(Vm{}); }));
    constexpr std::int64_t each_time = 20'000;
    std::int64_t written = 0;
    for (auto iteration : state) {
        (void)iteration;
        Run run{.left = each_time, .writers = static_cast<int>(vms.size())};
        std::vector<std::shared_ptr<Job>> jobs;
        for (const auto vm : vms)
            jobs.push_back(spawn(world.loop, "writer", write_durably(world, vm, run)));
        world.loop.run();
        written += each_time;
    }
    state.SetItemsProcessed(written);
}

void volatile_writes(benchmark::State& state) {
    World world;
    const auto task = world.db->transact([](Txn& txn) { return txn.insert(xenapi::Task{}); });
    constexpr int each_turn = 1000;
    for (auto iteration : state) {
        (void)iteration;
        for (int i = 0; i < each_turn; ++i)
            world.db->transact([&](Txn& txn) { txn.edit(task).progress += 1e-9; });
        world.loop.post([&] { world.loop.stop(); });  // a turn, in which reservations arrive
        world.loop.run();
    }
    state.SetItemsProcessed(state.iterations() * each_turn);
}

BENCHMARK(durable_writes)->Arg(1)->Arg(8)->Arg(64)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(volatile_writes);

}  // namespace
}  // namespace basalt::db

BENCHMARK_MAIN();
