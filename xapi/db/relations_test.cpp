// Both sides of relations, and derivation within a commit.
#include "xapi/db/testing.hpp"

namespace basalt::db {
namespace {

using namespace xenapi;

struct Objects {
    Ref<Vm> vm;
    Ref<Vdi> vdi;
    Ref<Vbd> vbd;
};

Objects make_objects(Database& db) {
    return db.transact([](Txn& txn) {
        Objects made;
        made.vm = txn.insert(named_vm("vm"));
        made.vdi = txn.insert(Vdi{});
        Vbd vbd;
        vbd.VM = made.vm;
        vbd.VDI = made.vdi;
        made.vbd = txn.insert(vbd);
        return made;
    });
}

TEST(Relations, sets_follow_the_references) {
    SimWorld world;
    Database& db = *world.db;
    const Objects made = make_objects(db);
    EXPECT_EQ(db.get(made.vm).VBDs, std::vector{made.vbd});
    EXPECT_EQ(db.get(made.vdi).VBDs, std::vector{made.vbd});

    const Generation before = db.published();
    const auto other = db.transact([&](Txn& txn) {
        const auto vdi = txn.insert(Vdi{});
        txn.edit(made.vbd).VDI = vdi;
        return vdi;
    });
    EXPECT_TRUE(db.get(made.vdi).VBDs.empty());
    EXPECT_EQ(db.get(other).VBDs, std::vector{made.vbd});
    int events = 0;
    db.each_changed(class_of<Vdi>(), before, [&](const RowPtr&) { ++events; });
    EXPECT_EQ(events, 2);  // each once

    db.transact([&](Txn& txn) { txn.erase(made.vbd); });
    EXPECT_TRUE(db.get(made.vm).VBDs.empty());
    EXPECT_TRUE(db.get(other).VBDs.empty());
}

TEST(Relations, a_copied_record_does_not_bring_the_sets_of_its_original) {
    SimWorld world;
    Database& db = *world.db;
    const Objects made = make_objects(db);
    const auto copy = db.transact([&](Txn& txn) {
        Vm record = txn.get(made.vm);
        record.uuid.clear();
        record.snapshot_of = made.vm;
        return txn.insert(record);
    });
    EXPECT_TRUE(db.get(copy).VBDs.empty());
    EXPECT_EQ(db.get(made.vm).snapshots, std::vector{copy});
    EXPECT_NE(db.get(copy).uuid, db.get(made.vm).uuid);
}

TEST(Relations, a_reference_to_nobody_is_refused) {
    SimWorld world;
    Database& db = *world.db;
    const Objects made = make_objects(db);
    const Ref<Vdi> nobody{world.loop.new_uuid()};
    EXPECT_EQ(error_code([&] { db.transact([&](Txn& txn) { txn.edit(made.vbd).VDI = nobody; }); }),
              "HANDLE_INVALID");
    EXPECT_EQ(db.get(made.vbd).VDI, made.vdi);
}

TEST(Relations, erasing_what_others_are_about_is_refused_and_state_is_nulled) {
    SimWorld world;
    Database& db = *world.db;
    const Objects made = make_objects(db);
    EXPECT_EQ(error_code([&] { db.transact([&](Txn& txn) { txn.erase(made.vm); }); }),
              "INTERNAL_ERROR");
    EXPECT_EQ(db.get(made.vm).VBDs, std::vector{made.vbd});
    db.transact([&](Txn& txn) {
        txn.erase(made.vm);
        txn.erase(made.vbd);
    });
    EXPECT_TRUE(db.get(made.vdi).VBDs.empty());

    const auto [host, guest, snapshot] = db.transact([](Txn& txn) {
        const auto h = txn.insert(Host{});
        Vm vm;
        vm.resident_on = h;
        const auto v = txn.insert(vm);
        Vm snap;
        snap.snapshot_of = v;
        return std::tuple{h, v, txn.insert(snap)};
    });
    EXPECT_EQ(db.get(host).resident_VMs, std::vector{guest});
    db.transact([&](Txn& txn) { txn.erase(host); });
    EXPECT_TRUE(db.get(guest).resident_on.null());
    db.transact([&](Txn& txn) { txn.erase(guest); });
    EXPECT_TRUE(db.get(snapshot).snapshot_of.null());
}

TEST(Relations, many_to_many_is_kept_from_either_side) {
    SimWorld world;
    Database& db = *world.db;
    const auto [vm, group] = db.transact([](Txn& txn) {
        const auto g = txn.insert(VmGroup{});
        Vm record;
        record.groups = {g};
        return std::pair{txn.insert(record), g};
    });
    EXPECT_EQ(db.get(group).VMs, std::vector{vm});
    db.transact([&](Txn& txn) { txn.edit(group).VMs.clear(); });
    EXPECT_TRUE(db.get(vm).groups.empty());
    db.transact([&](Txn& txn) { txn.edit(group).VMs = {vm}; });
    EXPECT_EQ(db.get(vm).groups, std::vector{group});
    db.transact([&](Txn& txn) { txn.erase(group); });
    EXPECT_TRUE(db.get(vm).groups.empty());
}

TEST(Relations, are_rebuilt_from_the_references_after_a_restart) {
    SimWorld world;
    const Objects made = make_objects(*world.db);
    const auto group = world.db->transact([&](Txn& txn) {
        VmGroup record;
        record.VMs = {made.vm};
        return txn.insert(record);
    });
    world.settle();
    world.crash();
    EXPECT_EQ(world.db->get(made.vm).VBDs, std::vector{made.vbd});
    EXPECT_EQ(world.db->get(made.vdi).VBDs, std::vector{made.vbd});
    EXPECT_EQ(world.db->get(made.vm).groups, std::vector{group});
    EXPECT_EQ(world.db->get(group).VMs, std::vector{made.vm});
}

/// Marks the VM of each touched VBD, and every VM when a network is touched.
class Marker : public Derive {
  public:
    void derive(Txn& txn, std::span<const Touched> touched) override {
        largest = std::max(largest, touched.size());
        for (const Touched& row : touched) {
            if (row.cls == &class_of<Vm>()) mark(txn, Ref<Vm>{row.ref});
            if (row.cls == &class_of<Vbd>() && row.after != nullptr) {
                mark(txn, static_cast<const Vbd*>(row.after)->VM);
            }
            if (row.cls == &class_of<Network>()) {
                txn.each<Vm>([&](Ref<Vm> vm, const Vm&) {
                    if (txn.room() == 0) {
                        txn.later({&class_of<Vm>(), vm.uuid()});
                    } else {
                        ++wide;
                        mark(txn, vm);
                    }
                });
            }
        }
    }

    static void mark(Txn& txn, Ref<Vm> vm) {
        if (txn.find(vm) == nullptr) return;
        const bool ours = txn.get(vm).name_description == "wanted";
        if (!ours) txn.edit(vm).name_description = "wanted";
    }

    std::size_t largest = 0;
    int wide = 0;
};

TEST(Derived, is_part_of_the_commit_that_caused_it) {
    Marker marker;
    SimWorld world(1, &marker);
    const Objects made = make_objects(*world.db);
    EXPECT_EQ(world.db->get(made.vm).name_description, "wanted");
}

TEST(Derived, above_its_width_follows_in_commits_of_their_own) {
    Marker marker;
    SimWorld world(1, &marker);
    Database& db = *world.db;
    std::vector<Ref<Vm>> vms;
    for (int i = 0; i < 300; ++i)
        vms.push_back(db.transact([&](Txn& txn) { return txn.insert(Vm{}); }));
    world.start({});
    marker.largest = 0;
    // The store kept only part of it: derive anew what the restart forgot.
    Database& again = *world.db;
    again.derive_all();
    EXPECT_LE(marker.largest, derived_rows_max);
    for (const auto vm : vms)
        EXPECT_EQ(again.get(vm).name_description, "wanted");
}

TEST(Derived, leaves_the_rest_for_later_when_there_is_no_room) {
    Marker marker;
    SimWorld world;
    Database& db = *world.db;
    db.transact([&](Txn& txn) {
        for (int i = 0; i < 300; ++i)
            txn.insert(Vm{});
    });
    world.settle();
    world.derive = &marker;
    world.start({});
    world.db->transact([](Txn& txn) { txn.insert(Network{}); });
    EXPECT_EQ(marker.wide, 64);
    world.loop.run_for(1s);
    world.db->each<Vm>([](Ref<Vm>, const Vm& vm) { EXPECT_EQ(vm.name_description, "wanted"); });
    EXPECT_LE(marker.largest, derived_rows_max);
}

}  // namespace
}  // namespace basalt::db
