// What few ask of disks, drives and suspended VMs, over simulated hosts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "idl/records.hpp"
#include "tests/sim/invariants.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using ::testing::HasSubstr;
using wire::Value;
using xenapi::Ref;
using xenapi::Vdi;
using xenapi::Vif;
using xenapi::Vm;
using Infos = std::vector<xenapi::VdiNbdServerInfo>;

class DiskMessages : public ::testing::Test {
  protected:
    std::string code(const std::string& method, std::vector<Value> args) {
        return code_of([&] { pool_.call(method, std::move(args)); });
    }

    Ref<Vdi> disk_of(Ref<Vm> vm) { return pool_.db().get(pool_.db().get(vm).VBDs.front()).VDI; }

    /// The parameters of the messages that enter a disk.
    static std::vector<Value> entering(const Vdi& row, const std::string& uuid,
                                       const std::string& location) {
        return {Value(uuid),  Value("known again"),  Value(""),
                of(row.SR),   Value("user"),         Value(false),
                Value(false), Value(wire::Object{}), Value(location)};
    }

    const Vm& row(Ref<Vm> vm) { return pool_.db().get(vm); }

    Ref<Vm> suspended(const std::string& name) {
        const Ref<Vm> vm = pool_.make_vm(name);
        pool_.call("VM.start", {of(vm), Value(false), Value(false)});
        pool_.call("VM.suspend", {of(vm)});
        return vm;
    }

    SimPool pool_{91};
};

TEST_F(DiskMessages, a_disk_is_forgotten_and_known_again) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const Ref<Vdi> first = disk_of(vm);
    const Vdi disk = pool_.db().get(first);
    EXPECT_EQ(code("VDI.introduce", entering(disk, "", disk.location)), "LOCATION_NOT_UNIQUE");
    EXPECT_EQ(code("VDI.introduce", entering(disk, "", "nowhere")), "VDI_LOCATION_MISSING");
    pool_.call("VDI.forget", {of(first)});
    EXPECT_EQ(code("VDI.introduce",
                   entering(disk, "00000000-1111-2222-3333-444444444444", disk.location)),
              "INVALID_VALUE");
    EXPECT_EQ(code("VDI.introduce", entering(disk, "no uuid", disk.location)), "INVALID_VALUE");
    const auto again = pool_.get<Ref<Vdi>>("VDI.introduce", entering(disk, "", disk.location));
    const Vdi& known = pool_.db().get(again);
    EXPECT_EQ(known.uuid, disk.uuid);
    EXPECT_EQ(known.name_label, "known again");
    EXPECT_EQ(known.virtual_size, disk.virtual_size);
    EXPECT_TRUE(known.managed);
    pool_.call("VDI.destroy", {of(again)});
    pool_.pass(std::chrono::minutes(2));
    EXPECT_EQ(broken_text(pool_), "");
}

TEST_F(DiskMessages, records_come_and_go_alone) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const Vdi disk = pool_.db().get(disk_of(vm));
    const std::string uuid = "00000000-1111-2222-3333-444444444444";
    const auto made = pool_.get<Ref<Vdi>>("VDI.pool_introduce", entering(disk, uuid, "elsewhere"));
    EXPECT_EQ(pool_.db().get(made).uuid, uuid);
    EXPECT_EQ(code("VDI.db_introduce", entering(disk, uuid, "a third")), "INVALID_VALUE");
    EXPECT_EQ(code("VDI.db_introduce", entering(disk, "x", "a third")), "UUID_INVALID");
    EXPECT_EQ(code("VDI.db_introduce", entering(disk, "", "elsewhere")), "LOCATION_NOT_UNIQUE");
    pool_.call("VDI.db_forget", {of(made)});
    EXPECT_EQ(pool_.db().find(made), nullptr);
    EXPECT_EQ(code("VDI.db_forget", {of(made)}), "HANDLE_INVALID");
}

TEST_F(DiskMessages, a_disk_goes_back_to_its_snapshot) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const Ref<Vdi> disk = disk_of(vm);
    const Vdi before = pool_.db().get(disk);
    const auto snapshot = pool_.get<Ref<Vdi>>("VDI.snapshot", {of(disk), Value(wire::Object{})});
    pool_.call("VDI.resize", {of(disk), Value(2 * before.virtual_size)});
    EXPECT_EQ(code("VDI.revert", {of(disk)}), "OPERATION_NOT_ALLOWED");
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(code("VDI.revert", {of(snapshot)}), "VDI_IN_USE");
    pool_.call("VM.hard_shutdown", {of(vm)});

    pool_.call("VDI.revert", {of(snapshot)});
    const Vdi& after = pool_.db().get(disk);
    EXPECT_EQ(after.virtual_size, before.virtual_size);
    EXPECT_EQ(after.uuid, before.uuid);
    EXPECT_EQ(after.VBDs, before.VBDs);
    EXPECT_EQ(pool_.db().get(snapshot).snapshot_of, disk);
    pool_.call("VDI.revert", {of(snapshot)});
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    pool_.call("VM.hard_shutdown", {of(vm)});
    const auto copy = pool_.get<Ref<Vdi>>("VDI.snapshot", {of(disk), Value(wire::Object{})});
    pool_.call("VM.destroy", {of(vm)});
    pool_.call("VDI.destroy", {of(disk)});
    EXPECT_EQ(code("VDI.revert", {of(copy)}), "OPERATION_NOT_ALLOWED");
    pool_.pass(1min);  // what the last call left is acknowledged
    EXPECT_EQ(broken_text(pool_), "");
}

TEST_F(DiskMessages, what_no_driver_can_is_refused) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const auto disk = disk_of(vm);
    const auto host = pool_.xapi->core().this_host;
    EXPECT_EQ(code("VDI.force_unlock", {of(disk)}), "MESSAGE_DEPRECATED");
    EXPECT_EQ(code("VDI.generate_config", {of(host), of(disk)}), "SR_OPERATION_NOT_SUPPORTED");
    const auto drive = row(vm).VBDs.front();
    EXPECT_EQ(code("VBD.pause", {of(drive)}), "SR_OPERATION_NOT_SUPPORTED");
    EXPECT_EQ(code("VBD.unpause", {of(drive), Value("")}), "SR_OPERATION_NOT_SUPPORTED");
    EXPECT_EQ(code("VM.sysprep", {of(vm), Value("<x/>"), Value(1.0)}), "SYSPREP");
    EXPECT_EQ(code("VM.sysprep", {of(vm), Value("<x/>"), Value(-1.0)}), "INVALID_VALUE");
}

TEST_F(DiskMessages, a_network_says_where_disks_are_read) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const auto disk = disk_of(vm);
    const auto asked = [&] { return pool_.get<Infos>("VDI.get_nbd_info", {of(disk)}); };
    EXPECT_TRUE(asked().empty());
    const auto pif = pool_.db().get(pool_.xapi->core().this_host).PIFs.front();
    pool_.db().transact([&](db::Txn& txn) {
        txn.edit(pif).IP = "192.0.2.7";
        txn.edit(pif).IPv6 = {"2001:db8::7/64"};
        txn.edit(pif).currently_attached = true;
    });
    const auto network = pool_.db().get(pif).network;
    pool_.call("network.add_purpose", {of(network), Value("nbd")});
    const Infos infos = asked();
    ASSERT_EQ(infos.size(), 2U);
    EXPECT_EQ(infos[0].address, "192.0.2.7");
    EXPECT_EQ(infos[1].address, "2001:db8::7");
    EXPECT_EQ(infos[0].port, 10809);
    EXPECT_THAT(infos[0].exportname,
                HasSubstr("/" + pool_.db().get(disk).uuid + "?session_id=OpaqueRef:"));

    const auto other =
        pool_.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("other")});
    EXPECT_EQ(code("network.add_purpose", {of(other), Value("insecure_nbd")}),
              "NETWORK_INCOMPATIBLE_PURPOSES");
    EXPECT_TRUE(pool_.db().get(other).purpose.empty());
    pool_.call("network.remove_purpose", {of(network), Value("nbd")});
    pool_.call("network.add_purpose", {of(other), Value("insecure_nbd")});
    EXPECT_TRUE(asked().empty()) << "the host has no address there";

    const auto snapshot = pool_.get<Ref<Vdi>>("VDI.snapshot", {of(disk)});
    pool_.db().transact(
        [&](db::Txn& txn) { txn.edit(snapshot).type = xenapi::VdiType::cbt_metadata; });
    EXPECT_EQ(code("VDI.get_nbd_info", {of(snapshot)}), "VDI_INCOMPATIBLE_TYPE");
}

TEST_F(DiskMessages, two_guests_wake_from_one_sleep) {
    const Ref<Vm> vm = suspended("sleeper");
    const auto twin = pool_.get<Ref<Vm>>("VM.csvm", {of(vm)});
    EXPECT_EQ(row(twin).power_state, xenapi::VmPowerState::suspended);
    EXPECT_EQ(row(twin).name_label, "sleeper");
    EXPECT_FALSE(row(twin).is_a_snapshot);
    EXPECT_NE(row(twin).suspend_VDI, row(vm).suspend_VDI);
    EXPECT_NE(disk_of(twin), disk_of(vm));
    EXPECT_EQ(pool_.db().get(row(twin).VIFs.front()).MAC, pool_.db().get(row(vm).VIFs.front()).MAC);
    for (const Ref<Vm> one : {vm, twin}) {
        pool_.call("VM.resume", {of(one), Value(false), Value(false)});
        EXPECT_EQ(row(one).power_state, xenapi::VmPowerState::running);
    }
    EXPECT_EQ(code("VM.csvm", {of(vm)}), "VM_BAD_POWER_STATE");
    pool_.pass(std::chrono::minutes(2));
    EXPECT_EQ(broken_text(pool_), "");
}

TEST_F(DiskMessages, only_a_sleeper_has_its_memory_exchanged) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const auto disk = disk_of(vm);
    EXPECT_EQ(code("VM.set_suspend_VDI", {of(vm), of(disk)}), "VM_BAD_POWER_STATE");
    const Ref<Vm> sleeper = suspended("two");
    const auto image = row(sleeper).suspend_VDI;
    EXPECT_EQ(code("VM.set_suspend_VDI", {of(sleeper), of(image)}), "success");
    EXPECT_EQ(code("VM.set_suspend_VDI", {of(sleeper), of(sleeper)}), "HANDLE_INVALID");
    EXPECT_EQ(row(sleeper).suspend_VDI, image);
}

TEST_F(DiskMessages, a_guest_is_told_its_addresses_by_cloud_init) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const Ref<Vif> vif = row(vm).VIFs.front();
    const auto configure = [&](const char* family, const char* mode, const char* address,
                               const char* gateway) {
        return code(std::string("VIF.configure_") + family,
                    {of(vif), Value(mode), Value(address), Value(gateway)});
    };
    EXPECT_EQ(configure("ipv4", "Static", "192.0.2.9", ""), "INVALID_CIDR_ADDRESS_SPECIFIED");
    EXPECT_EQ(configure("ipv4", "Static", "192.0.2.9/33", ""), "INVALID_CIDR_ADDRESS_SPECIFIED");
    EXPECT_EQ(configure("ipv4", "Static", "192.0.2.9/24", "2001:db8::1"),
              "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(configure("ipv4", "Static", "192.0.2.9/24", "192.0.2.1"), "success");
    EXPECT_EQ(configure("ipv6", "Static", "2001:db8::9/64", ""), "success");
    pool_.call("VM.add_to_other_config",
               {of(vm), Value("cloud-init:user-data"), Value("#cloud-config\n{}\n")});
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    const auto files = [&] {
        return pool_.hosts.front()->machine().config(row(vm).uuid)->spec.seed->files;
    };
    EXPECT_EQ(files().at("network-config"),
              "version: 2\nethernets:\n  vif0:\n    match: {macaddress: \"" +
                  pool_.db().get(vif).MAC +
                  "\"}\n    addresses:\n      - \"192.0.2.9/24\"\n      - \"2001:db8::9/64\"\n"
                  "    routes:\n      - {to: default, via: \"192.0.2.1\"}\n");
    EXPECT_EQ(configure("ipv4", "DHCP", "", ""), "VM_LACKS_FEATURE");
    pool_.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(configure("ipv4", "None", "", ""), "success");
    EXPECT_EQ(configure("ipv6", "None", "", ""), "success");
    EXPECT_TRUE(pool_.db().get(vif).ipv4_addresses.empty());
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    EXPECT_FALSE(files().contains("network-config"));
}

TEST_F(DiskMessages, vms_and_repositories_have_attachments) {
    const Ref<Vm> vm = pool_.make_vm("one");
    const auto sr = pool_.db().get(disk_of(vm)).SR;
    const auto blob = pool_.get<Ref<xenapi::Blob>>(
        "VM.create_new_blob", {of(vm), Value("notes"), Value("text/plain"), Value(false)});
    EXPECT_EQ(row(vm).blobs.at(std::string("notes")), blob);
    pool_.call("SR.create_new_blob", {of(sr), Value("map"), Value(""), Value(true)});
    EXPECT_TRUE(pool_.db().get(pool_.db().get(sr).blobs.at(std::string("map"))).public_);
    EXPECT_EQ(code("VM.create_new_blob", {of(vm), Value("x"), Value("no type"), Value(false)}),
              "INVALID_VALUE");
}

TEST_F(DiskMessages, what_is_here_cannot_be_recovered) {
    const Ref<Vm> vm = pool_.make_vm("one");
    xenapi::Session session;
    session.is_local_superuser = true;
    const auto to =
        pool_.db().transact([&](db::Txn& txn) { return txn.insert(std::move(session)); });
    EXPECT_EQ(code("VM.assert_can_be_recovered", {of(vm), of(to)}), "success");
    EXPECT_EQ(code("VM.assert_can_be_recovered", {of(vm), of(vm)}), "SESSION_INVALID");
    EXPECT_TRUE(
        pool_
            .get<std::vector<Ref<xenapi::Sr>>>("VM.get_SRs_required_for_recovery", {of(vm), of(to)})
            .empty());
    EXPECT_EQ(code("VM.recover", {of(vm), of(to), Value(false)}), "DUPLICATE_VM");
    const auto nobody =
        pool_.db().transact([](db::Txn& txn) { return txn.insert(xenapi::Session{}); });
    EXPECT_EQ(code("VM.recover", {of(vm), of(nobody), Value(false)}), "RBAC_PERMISSION_DENIED");
    const auto sr = pool_.db().get(disk_of(vm)).SR;
    pool_.call("PBD.unplug", {of(pool_.db().get(sr).PBDs.front())});
    EXPECT_EQ(code("VM.assert_can_be_recovered", {of(vm), of(to)}), "VM_REQUIRES_SR");
    const auto missing = pool_.get<std::vector<Ref<xenapi::Sr>>>("VM.get_SRs_required_for_recovery",
                                                                 {of(vm), of(to)});
    EXPECT_EQ(missing, std::vector{sr});
    const auto shop = pool_.db().transact(
        [](db::Txn& txn) { return txn.insert(xenapi::VmAppliance{.name_label = "shop"}); });
    pool_.call("VM.set_appliance", {of(vm), of(shop)});
    EXPECT_EQ(code("VM.assert_can_be_recovered", {of(vm), of(to)}), "VM_IS_PART_OF_AN_APPLIANCE");
    EXPECT_EQ(code("VM_appliance.assert_can_be_recovered", {of(shop), of(to)}), "VM_REQUIRES_SR");
    EXPECT_EQ(code("VM_appliance.recover", {of(shop), of(to), Value(false)}), "VM_REQUIRES_SR");
}

}  // namespace
}  // namespace basalt::testing
