#pragma once
// For tests of xapi/db.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/error.hpp"
#include "base/sim_loop.hpp"
#include "base/wait.hpp"
#include "idl/records.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/store_sim.hpp"

namespace basalt::db {

/// The code of the ApiError that `f` throws, or "" when it throws none.
template <class F>
std::string error_code(F f) {
    try {
        f();
    } catch (const ApiError& e) {
        return e.code();
    }
    return "";
}

/// Runs a coroutine on a simulated loop to its end; throws what it threw.
inline void run(SimLoop& loop, Task<void> body, Duration limit = 60s) {
    const auto job = spawn(loop, "test", std::move(body));
    ASSERT_TRUE(loop.run_until([&] { return job->finished(); }, limit));
    if (job->failure()) std::rethrow_exception(job->failure());
}

/// A database over a simulated store on a disk that outlives restarts.
struct SimWorld {
    explicit SimWorld(std::uint64_t seed = 1, Derive* derive_in = nullptr)
        : loop(seed), derive(derive_in) {
        start();
    }

    void start(SimFaults faults = {}) {
        db.reset();
        store.reset();
        store = std::make_unique<SimStore>(loop, disk, faults);
        db = std::make_unique<Database>(loop, *store, derive);
    }

    void crash(SimFaults faults = {}) {
        store->crash();
        start(faults);
    }

    void settle() { run(loop, db->durable(db->published())); }

    SimLoop loop;
    SimDisk disk;
    Derive* derive;
    std::unique_ptr<SimStore> store;
    std::unique_ptr<Database> db;
};

inline xenapi::Vm named_vm(std::string label) {
    xenapi::Vm vm;
    vm.name_label = std::move(label);
    return vm;
}

}  // namespace basalt::db
