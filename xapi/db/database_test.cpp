// Transactions, indices, generations, events and restarts, over the simulated store.
#include <algorithm>

#include "xapi/db/testing.hpp"
#include "xapi/db/token.hpp"

namespace basalt::db {
namespace {

using namespace xenapi;

const ClassInfo& vm_class = class_of<Vm>();

std::vector<Uuid> changed_refs(const Database& db, const ClassInfo& cls, Generation after) {
    std::vector<Uuid> refs;
    db.each_changed(cls, after, [&](const RowPtr& row) { refs.push_back(row->ref); });
    return refs;
}

TEST(Txn, sees_its_own_edits_and_publishes_them_at_the_end) {
    SimWorld world;
    Database& db = *world.db;
    const Ref<Vm> vm = db.transact([&](Txn& txn) {
        const Ref<Vm> fresh = txn.insert(named_vm("a"));
        EXPECT_EQ(txn.get(fresh).name_label, "a");
        EXPECT_EQ(db.find(fresh), nullptr);
        txn.edit(fresh).name_label = "b";
        EXPECT_EQ(txn.get(fresh).name_label, "b");
        return fresh;
    });
    EXPECT_EQ(db.get(vm).name_label, "b");
    EXPECT_EQ(db.get(vm).uuid.size(), 36U);
    EXPECT_NE(db.get(vm).uuid, vm.uuid().text());
}

TEST(Txn, that_throws_changes_nothing) {
    SimWorld world;
    Database& db = *world.db;
    const auto vm = db.transact([](Txn& txn) { return txn.insert(named_vm("a")); });
    const Generation before = db.published();
    EXPECT_THROW(db.transact([&](Txn& txn) {
        txn.edit(vm).name_label = "b";
        txn.insert(named_vm("c"));
        throw std::runtime_error("no");
    }),
                 std::runtime_error);
    EXPECT_EQ(db.get(vm).name_label, "a");
    EXPECT_EQ(db.count(vm_class), 1U);
    EXPECT_EQ(db.published(), before);
}

TEST(Txn, of_an_absent_object_is_handle_invalid) {
    SimWorld world;
    Database& db = *world.db;
    const Ref<Vm> nobody{world.loop.new_uuid()};
    EXPECT_EQ(error_code([&] { (void)db.get(nobody); }), "HANDLE_INVALID");
    db.transact([&](Txn& txn) {
        EXPECT_EQ(error_code([&] { (void)txn.get(nobody); }), "HANDLE_INVALID");
        EXPECT_EQ(error_code([&] { (void)txn.edit(nobody); }), "HANDLE_INVALID");
        EXPECT_EQ(error_code([&] { txn.erase(nobody); }), "HANDLE_INVALID");
        EXPECT_EQ(txn.find(Ref<Vm>{}), nullptr);
        const auto vm = txn.insert(Vm{});
        txn.erase(vm);
        EXPECT_EQ(error_code([&] { txn.erase(vm); }), "HANDLE_INVALID");
    });
    EXPECT_EQ(db.count(vm_class), 0U);
}

TEST(Txn, within_a_transaction_is_a_bug) {
    SimWorld world;
    EXPECT_THROW(world.db->transact([&](Txn&) { world.db->transact([](Txn&) {}); }),
                 std::logic_error);
    world.db->transact([](Txn& txn) { txn.insert(Vm{}); });  // and leaves no trace
}

TEST(Txn, each_shows_rows_as_the_transaction_left_them) {
    SimWorld world;
    Database& db = *world.db;
    const auto [a, b] = db.transact(
        [](Txn& txn) { return std::pair{txn.insert(named_vm("a")), txn.insert(named_vm("b"))}; });
    db.transact([&](Txn& txn) {
        txn.erase(a);
        txn.edit(b).name_label = "B";
        txn.insert(named_vm("c"));
        std::string seen;
        txn.each<Vm>([&](Ref<Vm>, const Vm& vm) { seen += vm.name_label; });
        EXPECT_EQ(seen, "Bc");
    });
}

TEST(Txn, without_a_real_change_makes_no_event_unless_touched) {
    SimWorld world;
    Database& db = *world.db;
    const auto vm = db.transact([](Txn& txn) { return txn.insert(named_vm("a")); });
    const Generation before = db.published();
    db.transact([&](Txn& txn) { txn.edit(vm).name_label = "a"; });
    EXPECT_EQ(db.published(), before);
    db.transact([&](Txn& txn) { txn.touch(vm); });
    EXPECT_EQ(changed_refs(db, vm_class, before), std::vector{vm.uuid()});
}

TEST(Txn, refuses_a_second_row_with_the_same_uuid_or_reference) {
    SimWorld world;
    Database& db = *world.db;
    const auto vm = db.transact([](Txn& txn) { return txn.insert(Vm{}); });
    Vm twin;
    twin.uuid = db.get(vm).uuid;
    EXPECT_EQ(error_code([&] { db.transact([&](Txn& txn) { txn.insert(twin); }); }),
              "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    EXPECT_EQ(error_code([&] { db.transact([&](Txn& txn) { txn.insert_as(vm, Vm{}); }); }),
              "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    db.transact([&](Txn& txn) {
        txn.erase(vm);
        txn.insert(twin);
    });
    EXPECT_EQ(db.count(vm_class), 1U);
}

TEST(Txn, works_without_knowing_the_class) {
    SimWorld world;
    Database& db = *world.db;
    const Vm source = named_vm("erased");
    const Uuid ref = db.transact([&](Txn& txn) { return txn.insert(vm_class, &source); });
    db.transact([&](Txn& txn) { static_cast<Vm*>(txn.edit(vm_class, ref))->name_label = "typed"; });
    EXPECT_EQ(db.find(vm_class, ref)->as<Vm>().name_label, "typed");
    db.transact([&](Txn& txn) { txn.erase(vm_class, ref); });
    EXPECT_EQ(db.find(vm_class, ref), nullptr);
}

TEST(Database, finds_by_uuid_and_by_name_in_order_of_creation) {
    SimWorld world;
    Database& db = *world.db;
    const auto [a, b] = db.transact(
        [](Txn& txn) { return std::pair{txn.insert(named_vm("x")), txn.insert(named_vm("y"))}; });
    EXPECT_EQ(db.by_uuid<Vm>(db.get(a).uuid), a);
    EXPECT_EQ(db.by_uuid<Vm>("nonsense"), std::nullopt);
    db.transact([&](Txn& txn) { txn.edit(a).name_label = "y"; });
    EXPECT_EQ(db.by_name_label<Vm>("y"), (std::vector{a, b}));
    EXPECT_TRUE(db.by_name_label<Vm>("x").empty());
    const std::string uuid = db.get(a).uuid;
    db.transact([&](Txn& txn) { txn.erase(a); });
    EXPECT_EQ(db.by_name_label<Vm>("y"), std::vector{b});
    EXPECT_EQ(db.by_uuid<Vm>(uuid), std::nullopt);
}

TEST(Database, tells_what_changed_since_a_generation) {
    SimWorld world;
    Database& db = *world.db;
    std::vector<Ref<Vm>> vms;
    for (const char* name : {"a", "b", "c"})
        vms.push_back(db.transact([&](Txn& txn) { return txn.insert(named_vm(name)); }));
    const Generation then = db.published();
    db.transact([&](Txn& txn) { txn.edit(vms[2]).user_version = 7; });
    db.transact([&](Txn& txn) { txn.edit(vms[0]).user_version = 7; });
    EXPECT_EQ(changed_refs(db, vm_class, then), (std::vector{vms[2].uuid(), vms[0].uuid()}));
    EXPECT_EQ(changed_refs(db, vm_class, 0).size(), 3U);
    EXPECT_TRUE(changed_refs(db, vm_class, db.published()).empty());
    EXPECT_EQ(db.class_generation(vm_class), db.published());
    EXPECT_LT(db.class_generation(class_of<Vdi>()), then);

    db.transact([&](Txn& txn) { txn.erase(vms[1]); });
    std::vector<Tombstone> dead;
    db.each_deleted(then, [&](const Tombstone& tombstone) { dead.push_back(tombstone); });
    ASSERT_EQ(dead.size(), 1U);
    EXPECT_EQ(dead[0].ref, vms[1].uuid());
    EXPECT_EQ(dead[0].generation, db.published());
    EXPECT_LE(dead[0].created, then);
    EXPECT_EQ(dead[0].last->as<Vm>().name_label, "b");
    EXPECT_EQ(db.class_generation(vm_class), db.published());
    EXPECT_EQ(db.snapshot(vm_class).size(), 2U);
    EXPECT_EQ(db.snapshot(vm_class).pointers()[0]->ref, vms[0].uuid());
}

TEST(Database, a_snapshot_stays_as_it_was) {
    SimWorld world;
    Database& db = *world.db;
    constexpr std::size_t count = 200;  // several pages
    std::vector<Ref<Vm>> vms;
    const auto add = [&](std::string name) {
        Vm vm;
        vm.name_label = std::move(name);
        vms.push_back(db.transact([&](Txn& txn) { return txn.insert(vm); }));
    };
    const auto names = [](const Rows& rows) {
        std::vector<std::string> out;
        rows.each([&out](const RowPtr& row) { out.push_back(row->as<Vm>().name_label); });
        return out;
    };
    std::vector<std::string> expected;
    for (std::size_t i = 0; i < count; ++i) {
        expected.push_back("vm " + std::to_string(i));
        add(expected.back());
    }
    const Rows then = db.snapshot(vm_class);
    EXPECT_EQ(names(then), expected);

    db.transact([&](Txn& txn) { txn.edit(vms[70]).name_label = "other"; });
    for (std::size_t i = 0; i < 150; ++i)
        if (i != 70) db.transact([&](Txn& txn) { txn.erase(vms[i]); });
    add("new");
    EXPECT_EQ(names(then), expected);
    EXPECT_EQ(then.size(), count);

    expected.erase(expected.begin(), expected.begin() + 150);
    expected.insert(expected.begin(), "other");
    expected.emplace_back("new");
    EXPECT_EQ(names(db.snapshot(vm_class)), expected);
    EXPECT_EQ(db.snapshot(vm_class).size(), expected.size());
    db.transact([&](Txn& txn) { txn.edit(vms[70]).name_label = "another"; });
    EXPECT_EQ(names(db.snapshot(vm_class)).front(), "another");
}

TEST(Database, wakes_waiters_at_a_commit_and_at_the_limit) {
    SimWorld world;
    Database& db = *world.db;
    bool woken = false;
    const auto wait = [](Database& d, bool& out) -> basalt::Task<void> {
        out = co_await d.changed_since(d.published(), 30s);
    };
    const auto job = spawn(world.loop, "wait", wait(db, woken));
    world.loop.run_for(1s);
    EXPECT_FALSE(job->finished());
    const Time at = world.loop.now();
    db.transact([](Txn& txn) { txn.insert(Vm{}); });
    ASSERT_TRUE(world.loop.run_until([&] { return job->finished(); }, 1s));
    EXPECT_TRUE(woken);
    EXPECT_LT(world.loop.now() - at, 1ms);
    run(world.loop, wait(db, woken));
    EXPECT_FALSE(woken);
}

TEST(Database, forgets_deletions_after_a_day_and_says_so) {
    SimWorld world;
    Database& db = *world.db;
    const auto vm = db.transact([](Txn& txn) { return txn.insert(Vm{}); });
    const Generation then = db.published();
    db.transact([&](Txn& txn) { txn.erase(vm); });
    EXPECT_TRUE(db.covers(vm_class, then));
    bool passed = false;
    world.loop.at(world.loop.now() + 25h, [&] { passed = true; });
    ASSERT_TRUE(world.loop.run_until([&] { return passed; }, 26h));
    db.transact([](Txn& txn) { txn.insert(Vm{}); });
    EXPECT_FALSE(db.covers(vm_class, then));
    EXPECT_TRUE(db.covers(vm_class, db.published()));
    EXPECT_TRUE(db.covers(vm_class, 0));
    EXPECT_GT(db.oldest_covered(), then);
}

TEST(Database, tokens_are_two_numbers_of_twenty_digits) {
    SimWorld world;
    Database& db = *world.db;
    db.transact([](Txn& txn) { txn.insert(Vm{}); });
    const std::string token = db.token(db.published());
    EXPECT_EQ(token.size(), 41U);
    EXPECT_EQ(token[20], ',');
    EXPECT_EQ(db.parse_token(token), db.published());
    EXPECT_EQ(db.parse_token(""), Generation{0});
    EXPECT_EQ(db.parse_token("00000000000000000000,00000000000000000000"), Generation{0});
    EXPECT_EQ(db.parse_token("x").error(), TokenProblem::malformed);
    EXPECT_EQ(db.parse_token("1,").error(), TokenProblem::malformed);
    EXPECT_EQ(db.parse_token("1,2").error(), TokenProblem::foreign);
    EXPECT_EQ(db.parse_token(db.token(db.published() + 1)).error(), TokenProblem::foreign);
    const TokenParts parts{.epoch = 3, .generation = 5, .store_id = 7};
    EXPECT_EQ(token_text(parts), "00000052776558133253,00000000000000000007");
    EXPECT_EQ(parse_token_text(token_text(parts)), parts);
}

TEST(Restart, brings_back_what_was_durable_and_moves_generations_on) {
    SimWorld world;
    const auto [vm, vdi] = world.db->transact([](Txn& txn) {
        Vm record = named_vm("kept");
        record.current_operations.emplace("task", VmOperations::start);
        Vdi disk;
        disk.name_label = "disk";
        return std::pair{txn.insert(record), txn.insert(disk)};
    });
    world.settle();
    const Generation then = world.db->published();
    const std::string uuid = world.db->get(vm).uuid;
    world.crash();
    Database& db = *world.db;
    EXPECT_EQ(db.get(vm).name_label, "kept");
    EXPECT_EQ(db.by_uuid<Vm>(uuid), vm);
    EXPECT_TRUE(db.get(vm).current_operations.empty());
    EXPECT_EQ(db.get(vdi).name_label, "disk");
    EXPECT_GT(db.published(), then);
    // current_operations may have vanished, so who knew the VM hears of it.
    EXPECT_EQ(changed_refs(db, vm_class, then), std::vector{vm.uuid()});
    EXPECT_TRUE(db.covers(vm_class, then));
    EXPECT_FALSE(db.covers(class_of<xenapi::Task>(), then));
}

TEST(Restart, remembers_deletions_and_the_order_of_creation) {
    SimWorld world;
    std::vector<Ref<Vm>> vms;
    world.db->transact([&](Txn& txn) {
        for (const char* name : {"a", "b", "c"})
            vms.push_back(txn.insert(named_vm(name)));
    });
    const Generation then = world.db->published();
    world.db->transact([&](Txn& txn) { txn.erase(vms[1]); });
    world.settle();
    world.crash();
    const db::Rows held = world.db->snapshot(vm_class);
    const auto rows = held.pointers();
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0]->ref, vms[0].uuid());
    EXPECT_EQ(rows[1]->ref, vms[2].uuid());
    std::vector<Uuid> dead;
    world.db->each_deleted(then, [&](const Tombstone& t) { dead.push_back(t.ref); });
    EXPECT_EQ(dead, std::vector{vms[1].uuid()});
}

TEST(Restart, drops_volatile_rows_but_keeps_those_that_durable_ones_name) {
    SimWorld world;
    const auto refs = world.db->transact([](Txn& txn) {
        VmMetrics metrics;
        metrics.memory_actual = 5;
        const auto metrics_ref = txn.insert(metrics);
        Vm vm;
        vm.metrics = metrics_ref;
        return std::tuple{txn.insert(vm), metrics_ref, txn.insert(xenapi::Task{})};
    });
    const auto [vm, metrics, task] = refs;
    const std::string uuid = world.db->get(metrics).uuid;
    const auto writes = [&] { return world.disk.log.size(); };
    world.settle();
    const auto before = writes();
    world.db->transact([&](Txn& txn) { txn.edit(metrics).memory_actual = 6; });
    world.db->transact([&](Txn& txn) { txn.edit(task).progress = 0.5; });
    world.db->transact(
        [&](Txn& txn) { txn.edit(vm).current_operations.emplace("t", VmOperations::start); });
    world.loop.run_for(10s);
    EXPECT_EQ(writes(), before);  // nothing of that is stored
    world.crash();
    EXPECT_EQ(world.db->get(vm).metrics, metrics);
    EXPECT_EQ(world.db->get(metrics).uuid, uuid);
    EXPECT_EQ(world.db->get(metrics).memory_actual, VmMetrics{}.memory_actual);
    EXPECT_EQ(world.db->find(task), nullptr);
}

TEST(Restart, never_reuses_a_generation_that_a_client_may_hold) {
    SimWorld world;
    const auto task = world.db->transact([](Txn& txn) { return txn.insert(xenapi::Task{}); });
    Generation highest = 0;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 100 && round == 0; ++i)
            world.db->transact([&](Txn& txn) { txn.edit(task).progress += 0.001; });
        highest = world.db->published();
        world.crash();
        EXPECT_GE(world.db->published(), highest);
        EXPECT_GT(world.db->published() + 1, highest);
    }
}

TEST(Durable, returns_when_the_store_has_it_and_not_before) {
    SimWorld world;
    world.db->transact([](Txn& txn) { txn.insert(Vm{}); });
    const auto job = spawn(world.loop, "durable", world.db->durable(world.db->published()));
    EXPECT_TRUE(world.disk.log.empty());
    ASSERT_TRUE(world.loop.run_until([&] { return job->finished(); }, 1s));
    EXPECT_EQ(world.disk.log.size(), 1U);
    run(world.loop, world.db->durable(world.db->published()));
}

TEST(Durable, of_a_failed_store_is_an_unknown_outcome) {
    SimWorld world;
    world.start({.writes_until_failure = 0});
    std::string reason;
    world.db->on_failed([&](std::string text) { reason = std::move(text); });
    const auto session = world.db->transact([](Txn& txn) { return txn.insert(Session{}); });
    world.db->transact([](Txn& txn) { txn.insert(Vm{}); });
    EXPECT_EQ(error_code([&] { world.settle(); }), "INTERNAL_ERROR");
    EXPECT_EQ(reason, "simulated write error");
    // Nothing more is stored; what is not stored goes on.
    EXPECT_EQ(error_code([&] { world.db->transact([](Txn& txn) { txn.insert(Vm{}); }); }),
              "INTERNAL_ERROR");
    world.db->transact([&](Txn& txn) { txn.edit(session).pool = true; });
    EXPECT_EQ(world.db->count(vm_class), 1U);
}

TEST(Durable, read_only_mode_refuses_requests_and_takes_facts) {
    SimWorld world;
    const auto vm = world.db->transact([](Txn& txn) { return txn.insert(Vm{}); });
    world.store->faults().disk_full = true;
    EXPECT_EQ(error_code([&] { world.db->transact([](Txn& txn) { txn.insert(Vm{}); }); }),
              "OUT_OF_SPACE");
    world.db->transact([](Txn& txn) { txn.insert(Session{}); });
    world.db->transact_fact([&](Txn& txn) { txn.edit(vm).power_state = VmPowerState::halted; });
    world.settle();
    EXPECT_EQ(world.db->count(vm_class), 1U);
}

TEST(Durable, a_commit_above_the_limit_is_refused) {
    SimWorld world;
    EXPECT_EQ(error_code([&] {
                  world.db->transact(
                      [](Txn& txn) { txn.insert(named_vm(std::string(commit_bytes_max, 'x'))); });
              }),
              "INTERNAL_ERROR");
    EXPECT_EQ(world.db->count(vm_class), 0U);
}

/// Moves its VBD between two VDIs for ever and notes the newest move that is durable.
basalt::Task<void> move_disk(SimWorld& world, int id, std::vector<std::int64_t>& acknowledged) {
    Database& db = *world.db;
    const auto [vbd, a, b] = db.transact([&](Txn& txn) {
        Vbd record;
        record.VM = txn.insert(named_vm("vm" + std::to_string(id)));
        record.device = std::to_string(id);
        record.VDI = txn.insert(Vdi{});
        return std::tuple{txn.insert(record), record.VDI, txn.insert(Vdi{})};
    });
    for (std::int64_t n = 1;; ++n) {
        db.transact([&](Txn& txn) {
            txn.edit(vbd).VDI = n % 2 == 0 ? a : b;
            txn.edit(vbd).status_code = n;
        });
        co_await db.durable(db.published());
        acknowledged[static_cast<std::size_t>(id)] = n;
        co_await sleep_for(world.loop,
                           Duration(static_cast<std::int64_t>(world.loop.random() % 500'000)));
    }
}

TEST(Crash, at_any_moment_loses_nothing_acknowledged_and_breaks_no_relation) {
    constexpr int writers = 8;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        SimWorld world(seed);
        std::vector<std::int64_t> acknowledged(writers);
        std::vector<std::shared_ptr<Job>> jobs;
        for (int id = 0; id < writers; ++id)
            jobs.push_back(spawn(world.loop, "writer", move_disk(world, id, acknowledged)));
        world.loop.run_for(Duration(static_cast<std::int64_t>(world.loop.random() % 30'000'000)));
        for (const auto& job : jobs)
            job->cancel();
        world.store->crash();
        const auto ended = [&] {
            return std::ranges::all_of(jobs, [](const auto& job) { return job->finished(); });
        };
        ASSERT_TRUE(world.loop.run_until(ended, 1s)) << "seed " << seed;
        world.start();
        std::vector<std::int64_t> kept(writers);
        world.db->each<Vbd>([&](Ref<Vbd> ref, const Vbd& vbd) {
            kept.at(static_cast<std::size_t>(std::stoi(vbd.device))) = vbd.status_code;
            EXPECT_EQ(world.db->get(vbd.VDI).VBDs, std::vector{ref});
            EXPECT_EQ(world.db->get(vbd.VM).VBDs, std::vector{ref});
        });
        for (std::size_t id = 0; id < writers; ++id) {
            EXPECT_GE(kept[id], acknowledged[id]) << "seed " << seed;
            EXPECT_LE(kept[id], acknowledged[id] + 1) << "seed " << seed;
        }
    }
}

TEST(Generations, are_reserved_before_they_run_out) {
    SimWorld world;
    const auto task = world.db->transact([](Txn& txn) { return txn.insert(xenapi::Task{}); });
    for (int turn = 0; turn < 300; ++turn) {
        for (int i = 0; i < 10'000; ++i)
            world.db->transact([&](Txn& txn) { txn.touch(task); });
        world.loop.run_for(10ms);
    }
    EXPECT_GT(world.db->published(), 3'000'000U);
}

}  // namespace
}  // namespace basalt::db
