// USB devices of hosts: found, grouped, given to VMs and taken back. The buses are made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-agent/sim/sim_services.hpp"
#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wire::Value;
using xenapi::Host;
using xenapi::Pusb;
using xenapi::Ref;
using xenapi::UsbGroup;
using xenapi::Vm;
using xenapi::Vusb;

class UsbDevices : public ::testing::Test {
  protected:
    UsbDevices() : pool(47, 2) {}

    static agent::UsbFacts stick(const std::string& path, const std::string& serial = "4C53") {
        return {.path = path,
                .vendor_id = "0781",
                .product_id = "5591",
                .version = "2.10",
                .speed_mbps = 480,
                .serial = serial,
                .vendor_desc = "SanDisk",
                .product_desc = "Ultra"};
    }

    void plug_in(const agent::UsbFacts& device, std::size_t host = 0) {
        pool.hosts[host]->settings().usbs[device.path] = device;
    }

    void pull_out(const std::string& path, std::size_t host = 0) {
        pool.hosts[host]->settings().usbs.erase(path);
    }

    Ref<Host> host(std::size_t number = 0) {
        return *pool.db().by_uuid<Host>(pool.hosts[number]->facts().uuid);
    }

    void scan(std::size_t number = 0) { pool.call("PUSB.scan", {of(host(number))}); }

    Ref<Pusb> pusb(const std::string& path, std::size_t number = 0) {
        Ref<Pusb> found;
        pool.db().each<Pusb>([&](Ref<Pusb> ref, const Pusb& row) {
            if (row.path == path && row.host == host(number)) found = ref;
        });
        return found;
    }

    Ref<UsbGroup> group(const std::string& path, std::size_t number = 0) {
        return pool.db().get(pusb(path, number)).USB_group;
    }

    void allow(const std::string& path, std::size_t number = 0) {
        pool.call("PUSB.set_passthrough_enabled", {of(pusb(path, number)), Value(true)});
    }

    Ref<Vusb> give(Ref<Vm> vm, Ref<UsbGroup> which) {
        return pool.get<Ref<Vusb>>("VUSB.create", {of(vm), of(which), text_map({})});
    }

    void start(Ref<Vm> vm) { pool.call("VM.start", {of(vm), Value(false), Value(false)}); }

    std::string code(const std::string& method, std::vector<Value> args) {
        return code_of([&] { pool.call(method, std::move(args)); });
    }

    std::string code_of_start(Ref<Vm> vm) {
        return code("VM.start", {of(vm), Value(false), Value(false)});
    }

    /// Files of the devices that the guest has, on the host where it runs.
    std::vector<std::string> guest_has(Ref<Vm> vm) {
        std::vector<std::string> out;
        for (const auto& one : pool.hosts)
            if (const auto config = one->machine().config(pool.db().get(vm).uuid))
                for (const hv::UsbAttachment& usb : config->usbs)
                    out.push_back(usb.node);
        return out;
    }

    SimPool pool;
};

TEST_F(UsbDevices, are_found_at_the_start_and_when_somebody_looks) {
    EXPECT_EQ(pool.db().count(xenapi::class_of<Pusb>()), 0U);
    plug_in(stick("1-2"));
    plug_in(stick("1-3", "other"));
    plug_in(stick("2-1"), 1);
    scan();
    const Pusb& row = pool.db().get(pusb("1-2"));
    EXPECT_EQ(row.vendor_id, "0781");
    EXPECT_EQ(row.product_id, "5591");
    EXPECT_EQ(row.description, "SanDisk Ultra");
    EXPECT_EQ(row.speed, 480);
    EXPECT_FALSE(row.passthrough_enabled);
    EXPECT_EQ(pool.db().get(group("1-2")).name_label, "Group of 0781 5591 USBs");
    // Two of one host can be given away one by one; those of two hosts stand for each other.
    EXPECT_NE(group("1-2"), group("1-3"));
    pool.lose_power(1);
    pool.until([&] { return pool.is_ready(1) && pusb("2-1", 1); });
    EXPECT_TRUE(group("2-1", 1) == group("1-2") || group("2-1", 1) == group("1-3"));
    const Ref<Pusb> before = pusb("1-3");
    pull_out("1-2");
    scan();
    EXPECT_TRUE(pusb("1-2").null());
    EXPECT_EQ(pusb("1-3"), before);
    pull_out("1-3");
    pull_out("2-1", 1);
    scan();
    scan(1);
    EXPECT_EQ(pool.db().count(xenapi::class_of<Pusb>()), 0U);
    EXPECT_EQ(pool.db().count(xenapi::class_of<UsbGroup>()), 0U);
}

TEST_F(UsbDevices, go_to_the_guest_that_starts) {
    plug_in(stick("2-1"), 1);
    scan(1);
    const Ref<Vm> vm = pool.insert_vm("web");
    const Ref<Vusb> vusb = give(vm, group("2-1", 1));
    EXPECT_FALSE(pool.db().get(vusb).currently_attached);
    EXPECT_EQ(code_of_start(vm), "NO_HOSTS_AVAILABLE");
    EXPECT_EQ(code("VM.start_on", {of(vm), of(host(1)), Value(false), Value(false)}),
              "VM_REQUIRES_VUSB");
    allow("2-1", 1);
    EXPECT_EQ(code("VM.start_on", {of(vm), of(host(0)), Value(false), Value(false)}),
              "VM_REQUIRES_VUSB");
    start(vm);
    EXPECT_EQ(pool.db().get(vm).resident_on, host(1));
    EXPECT_THAT(guest_has(vm), ElementsAre("/dev/bus/usb/2-1"));
    EXPECT_TRUE(pool.db().get(vusb).currently_attached);
    EXPECT_THAT(pool.db().get(vusb).allowed_operations,
                ElementsAre(xenapi::VusbOperations::unplug));
    EXPECT_EQ(code("PUSB.set_passthrough_enabled", {of(pusb("2-1", 1)), Value(false)}),
              "USB_ALREADY_ATTACHED");
    EXPECT_EQ(code("VUSB.destroy", {of(vusb)}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("VM.suspend", {of(vm)}), "VM_HAS_VUSBS");
    EXPECT_EQ(code("VM.checkpoint", {of(vm), Value("memory")}), "VM_HAS_VUSBS");
    // It has it after a reboot, and a hostd and an xapi that restart know so.
    pool.call("VM.hard_reboot", {of(vm)});
    EXPECT_THAT(guest_has(vm), ElementsAre("/dev/bus/usb/2-1"));
    pool.cut(1);
    pool.mend();
    pool.crash_xapi();
    pool.until([&] { return pool.is_ready(1); });
    EXPECT_TRUE(pool.db().get(vusb).currently_attached);
    pool.call("VM.hard_shutdown", {of(vm)});
    EXPECT_FALSE(pool.db().get(vusb).currently_attached);
    pool.call("VM.destroy", {of(vm)});
    EXPECT_EQ(pool.db().find(vusb), nullptr);
}

TEST_F(UsbDevices, come_and_go_while_the_guest_runs) {
    plug_in(stick("1-2"));
    scan();
    allow("1-2");
    const Ref<Vm> vm = pool.insert_vm("web");
    pool.call("VM.start_on", {of(vm), of(host()), Value(false), Value(false)});
    pool.hosts[0]->machine().fail("plug_usb", ApiError("INTERNAL_ERROR", {"busy"}));
    EXPECT_EQ(code("VUSB.create", {of(vm), of(group("1-2")), text_map({})}), "INTERNAL_ERROR");
    EXPECT_EQ(pool.db().count(xenapi::class_of<Vusb>()), 0U);
    EXPECT_THAT(guest_has(vm), IsEmpty());
    const Ref<Vusb> vusb = give(vm, group("1-2"));
    EXPECT_TRUE(pool.db().get(vusb).currently_attached);
    EXPECT_THAT(guest_has(vm), ElementsAre("/dev/bus/usb/1-2"));
    pool.call("VUSB.unplug", {of(vusb)});
    EXPECT_THAT(guest_has(vm), IsEmpty());
    EXPECT_FALSE(pool.db().get(vusb).currently_attached);
    EXPECT_THAT(pool.db().get(vusb).allowed_operations, IsEmpty());
    EXPECT_EQ(code("VUSB.unplug", {of(vusb)}), "DEVICE_ALREADY_DETACHED");
    pool.call("VUSB.destroy", {of(vusb)});

    // What is pulled out of the host is no longer the guest's; plugged in again it may be given.
    const Ref<Vusb> again = give(vm, group("1-2"));
    pull_out("1-2");
    scan();
    EXPECT_FALSE(pool.db().get(again).currently_attached);
    EXPECT_THAT(guest_has(vm), IsEmpty());
    pool.call("VM.hard_reboot", {of(vm)});
    EXPECT_EQ(pool.db().get(vm).power_state, xenapi::VmPowerState::running);
    pool.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(code("VUSB.unplug", {of(again)}), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code("VM.start_on", {of(vm), of(host()), Value(false), Value(false)}),
              "VM_REQUIRES_VUSB");
}

TEST_F(UsbDevices, of_another_kind_than_the_records_say_are_not_given) {
    plug_in(stick("1-2"));
    scan();
    allow("1-2");
    const Ref<Vm> vm = pool.insert_vm("web");
    give(vm, group("1-2"));
    agent::UsbFacts other = stick("1-2");
    other.product_id = "0001";
    plug_in(other);
    EXPECT_EQ(code("VM.start_on", {of(vm), of(host()), Value(false), Value(false)}),
              "INVALID_DEVICE");
    EXPECT_EQ(pool.db().get(vm).power_state, xenapi::VmPowerState::halted);
}

TEST_F(UsbDevices, have_rules_of_who_gets_them) {
    for (int i = 1; i <= 7; ++i)
        plug_in(stick("1-" + std::to_string(i), std::to_string(i)));
    scan();
    const Ref<Vm> vm = pool.insert_vm("web");
    for (int i = 1; i <= 6; ++i)
        give(vm, group("1-" + std::to_string(i)));
    EXPECT_EQ(code("VUSB.create", {of(vm), of(group("1-7")), text_map({})}), "TOO_MANY_VUSBS");
    const Ref<Vm> other = pool.insert_vm("db");
    EXPECT_EQ(code("VUSB.create", {of(other), of(group("1-1")), text_map({})}),
              "USB_GROUP_CONFLICT");
    pool.call("VM.start_on", {of(other), of(host()), Value(false), Value(false)});
    EXPECT_EQ(code("VUSB.create", {of(other), of(group("1-7")), text_map({})}), "VM_REQUIRES_VUSB");
    const auto own =
        pool.get<Ref<UsbGroup>>("USB_group.create", {Value("mine"), Value("keys"), text_map({})});
    EXPECT_EQ(pool.db().get(own).name_description, "keys");
    EXPECT_EQ(code("VUSB.create", {of(other), of(own), text_map({})}),
              "USB_GROUP_CONTAINS_NO_PUSBS");
    pool.call("VM.suspend", {of(other)});
    EXPECT_EQ(code("VUSB.create", {of(other), of(own), text_map({})}), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code("USB_group.destroy", {of(group("1-1"))}), "USB_GROUP_CONTAINS_PUSB");
    pool.call("VM.hard_shutdown", {of(other)});
    give(other, own);
    EXPECT_EQ(code("USB_group.destroy", {of(own)}), "USB_GROUP_CONTAINS_VUSB");
    pool.call("VM.destroy", {of(other)});
    EXPECT_EQ(code("USB_group.destroy", {of(own)}), "success");
}

}  // namespace
}  // namespace basalt::testing
