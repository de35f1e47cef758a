// PCI devices of hosts, what the control domain leaves alone of them, and network cards that are
// divided into virtual functions. The buses are made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-agent/sim/sim_services.hpp"
#include "idl/errors.hpp"
#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wire::Value;
using xenapi::Host;
using xenapi::Network;
using xenapi::NetworkSriov;
using xenapi::Pci;
using xenapi::Pif;
using xenapi::Ref;
using xenapi::Vm;
using Access = xenapi::PciDom0Access;

const std::string card = "0000:00:03.0";  // where a simulated host has its eth0

class PciDevices : public ::testing::Test {
  protected:
    PciDevices() : pool(53, 2) {
        plug_in(nic(card));
        plug_in(nic(card), 1);
        scan();
        scan(1);
    }

    static agent::PciFacts nic(const std::string& address) {
        return {.address = address,
                .class_id = "0200",
                .class_name = "Ethernet controller",
                .vendor_id = "8086",
                .vendor_name = "Intel",
                .device_id = "1521",
                .device_name = "I350",
                .driver = "igb",
                .functions_max = 3};
    }

    agent::sim::SimMachine& machine(std::size_t number = 0) {
        return pool.hosts[number]->settings();
    }

    void plug_in(const agent::PciFacts& device, std::size_t number = 0) {
        machine(number).pcis[device.address] = device;
    }

    Ref<Host> host(std::size_t number = 0) {
        return *pool.db().by_uuid<Host>(pool.hosts[number]->facts().uuid);
    }

    void scan(std::size_t number = 0) { pool.call("PIF.scan", {of(host(number))}); }

    void reboot(std::size_t number) {
        pool.lose_power(number);
        pool.until([&] {
            return pool.is_ready(number) &&
                   pool.db().get(host(number)).other_config.get(std::string("boot_id")) ==
                       pool.hosts[number]->facts().boot_id;
        });
    }

    Ref<Pci> pci(const std::string& address, std::size_t number = 0) {
        Ref<Pci> found;
        pool.db().each<Pci>([&](Ref<Pci> ref, const Pci& row) {
            if (row.pci_id == address && row.host == host(number)) found = ref;
        });
        return found;
    }

    Ref<Pif> physical(std::size_t number = 0) {
        Ref<Pif> found;
        pool.db().each<Pif>([&](Ref<Pif> ref, const Pif& row) {
            if (row.physical && row.host == host(number)) found = ref;
        });
        return found;
    }

    Ref<Network> network(const std::string& name = "functions") {
        return pool.get<Ref<Network>>("network.create", {SimPool::network_record(name)});
    }

    Ref<NetworkSriov> divide(Ref<Network> on, std::size_t number = 0) {
        return pool.get<Ref<NetworkSriov>>("network_sriov.create", {of(physical(number)), of(on)});
    }

    std::int64_t capacity(Ref<NetworkSriov> sriov) {
        return pool.get<std::int64_t>("network_sriov.get_remaining_capacity", {of(sriov)});
    }

    std::string code(const std::string& method, std::vector<Value> args) {
        return code_of([&] { pool.call(method, std::move(args)); });
    }

    xenapi::PciDom0Access access(const std::string& method, Ref<Pci> device) {
        return pool.get<xenapi::PciDom0Access>("PCI." + method, {of(device)});
    }

    SimPool pool;
};

TEST_F(PciDevices, are_records_and_interfaces_know_theirs) {
    const Pci& row = pool.db().get(pci(card));
    EXPECT_EQ(row.vendor_name, "Intel");
    EXPECT_EQ(row.driver_name, "igb");
    EXPECT_EQ(pool.db().get(physical()).PCI, pci(card));
    EXPECT_THAT(pool.db().get(physical()).capabilities, ElementsAre("sriov"));
    // A bridge is nobody's business, unless it shares a card with what is.
    agent::PciFacts bridge{.address = "0000:00:1f.0", .class_id = "0601", .vendor_id = "8086"};
    plug_in(bridge);
    scan();
    EXPECT_FALSE(pci("0000:00:1f.0"));
    agent::PciFacts disk{.address = "0000:00:1f.2", .class_id = "0106", .vendor_id = "8086"};
    disk.related = {"0000:00:1f.0"};
    plug_in(disk);
    scan();
    EXPECT_THAT(pool.db().get(pci("0000:00:1f.2")).dependencies, ElementsAre(pci("0000:00:1f.0")));
    // Another card in the same place is another device.
    const Ref<Pci> before = pci(card);
    agent::PciFacts other = nic(card);
    other.device_id = "10fb";
    other.functions_max = 0;
    plug_in(other);
    scan();
    EXPECT_NE(pci(card), before);
    EXPECT_EQ(pool.db().find(before), nullptr);
    EXPECT_THAT(pool.db().get(physical()).capabilities, IsEmpty());
    // The other host's are its own.
    EXPECT_TRUE(pci(card, 1));
}

TEST_F(PciDevices, are_left_to_guests_from_the_next_boot_on) {
    const Ref<Pci> device = pci(card, 1);
    EXPECT_EQ(access("get_dom0_access_status", device), Access::enabled);
    EXPECT_EQ(access("disable_dom0_access", device), Access::disable_on_reboot);
    EXPECT_EQ(access("disable_dom0_access", device), Access::disable_on_reboot);
    EXPECT_EQ(access("get_dom0_access_status", pci(card)), Access::enabled);
    reboot(1);
    EXPECT_EQ(access("get_dom0_access_status", device), Access::disabled);
    EXPECT_EQ(access("enable_dom0_access", device), Access::enable_on_reboot);
    reboot(1);
    EXPECT_EQ(access("get_dom0_access_status", device), Access::enabled);
    machine(1).boots_from = card;
    EXPECT_EQ(code("PCI.disable_dom0_access", {of(device)}), "BOOT_DEVICE_PASSTHROUGH_DISALLOWED");
    EXPECT_EQ(access("get_dom0_access_status", device), Access::enabled);
}

TEST_F(PciDevices, a_card_is_divided_for_a_network_and_made_whole_again) {
    const Ref<Network> functions = network();
    const Ref<NetworkSriov> sriov = divide(functions);
    const NetworkSriov row = pool.db().get(sriov);
    EXPECT_EQ(row.physical_PIF, physical());
    EXPECT_EQ(row.configuration_mode, xenapi::SriovConfigurationMode::sysfs);
    EXPECT_FALSE(row.requires_reboot);
    const Pif logical = pool.db().get(row.logical_PIF);
    EXPECT_TRUE(logical.currently_attached);
    EXPECT_FALSE(logical.physical);
    EXPECT_EQ(logical.MAC, "fe:ff:ff:ff:ff:ff");
    EXPECT_EQ(logical.network, functions);
    EXPECT_THAT(pool.db().get(physical()).sriov_physical_PIF_of, ElementsAre(sriov));
    EXPECT_EQ(pool.db().get(pci(card)).virtual_functions.size(), 3U);
    EXPECT_EQ(capacity(sriov), 3);
    // The card is the switch: the host gets no bridge for it.
    EXPECT_FALSE(pool.hosts[0]->network().bridges().contains(pool.db().get(functions).bridge));
    // Away and back, by the interface.
    pool.call("PIF.unplug", {of(row.logical_PIF)});
    EXPECT_EQ(capacity(sriov), 0);
    EXPECT_FALSE(pool.db().get(row.logical_PIF).currently_attached);
    pool.call("PIF.plug", {of(row.logical_PIF)});
    EXPECT_EQ(capacity(sriov), 3);
    pool.call("network_sriov.destroy", {of(sriov)});
    EXPECT_EQ(pool.db().find(sriov), nullptr);
    EXPECT_EQ(pool.db().find(row.logical_PIF), nullptr);
    EXPECT_THAT(pool.db().get(pci(card)).virtual_functions, IsEmpty());
}

TEST_F(PciDevices, what_cannot_be_divided_is_refused) {
    const Ref<Network> functions = network();
    const Ref<NetworkSriov> sriov = divide(functions);
    const Ref<Pif> logical = pool.db().get(sriov).logical_PIF;
    EXPECT_EQ(code("network_sriov.create", {of(physical()), of(network("more"))}),
              "NETWORK_SRIOV_ALREADY_ENABLED");
    EXPECT_EQ(code("network_sriov.create", {of(logical), of(network("own"))}),
              "PIF_IS_NOT_PHYSICAL");
    EXPECT_EQ(code("PIF.forget", {of(logical)}), "CANNOT_FORGET_SRIOV_LOGICAL");
    EXPECT_EQ(code("VLAN.create", {of(logical), Value(7), of(network("vlan"))}),
              "PIF_IS_SRIOV_LOGICAL");
    EXPECT_EQ(code("tunnel.create", {of(logical), of(network("tunnel"))}),
              "CANNOT_ADD_TUNNEL_TO_SRIOV_LOGICAL");
    // Of the second host: its own network is no network of functions.
    EXPECT_EQ(
        code("network_sriov.create", {of(physical(1)), of(pool.db().get(physical(1)).network)}),
        "NETWORK_ALREADY_CONNECTED");
    agent::PciFacts other = nic(card);
    other.device_id = "10fb";
    plug_in(other, 1);
    scan(1);
    EXPECT_EQ(code("network_sriov.create", {of(physical(1)), of(functions)}),
              "NETWORK_HAS_INCOMPATIBLE_SRIOV_PIFS");
    other.functions_max = 0;
    plug_in(other, 1);
    scan(1);
    EXPECT_EQ(code("network_sriov.create", {of(physical(1)), of(functions)}),
              "PIF_IS_NOT_SRIOV_CAPABLE");
    plug_in(nic(card), 1);
    scan(1);
    machine(1).fault = err::internal_error("the card says no");
    EXPECT_EQ(code("network_sriov.create", {of(physical(1)), of(functions)}),
              "NETWORK_SRIOV_ENABLE_FAILED");
    EXPECT_EQ(pool.db().count(xenapi::class_of<NetworkSriov>()), 1U);
    EXPECT_EQ(pool.db().get(functions).PIFs.size(), 1U);
    EXPECT_TRUE(divide(functions, 1));
}

TEST_F(PciDevices, a_card_is_divided_again_after_a_boot) {
    const Ref<NetworkSriov> sriov = divide(network(), 1);
    reboot(1);
    EXPECT_EQ(capacity(sriov), 3);
    EXPECT_TRUE(pool.db().get(pool.db().get(sriov).logical_PIF).currently_attached);
    machine(1).fault = err::internal_error("the card says no");
    reboot(1);
    EXPECT_FALSE(pool.db().get(pool.db().get(sriov).logical_PIF).currently_attached);
    EXPECT_EQ(capacity(sriov), 0);
    pool.call("PIF.plug", {of(pool.db().get(sriov).logical_PIF)});
    EXPECT_EQ(capacity(sriov), 3);
}

TEST_F(PciDevices, a_vm_that_needs_a_function_is_told_why_it_has_none) {
    const Ref<Network> functions = network();
    const Ref<NetworkSriov> sriov = divide(functions);
    const Ref<Vm> vm = pool.insert_vm("with a function");
    const auto vif = pool.get<Ref<xenapi::Vif>>("VIF.create", {SimPool::vif_record(vm, functions)});
    EXPECT_EQ(code("VM.start_on", {of(vm), of(host()), Value(false), Value(false)}),
              "VM_REQUIRES_IOMMU");
    pool.call("PIF.unplug", {of(pool.db().get(sriov).logical_PIF)});
    EXPECT_EQ(code("VM.assert_can_boot_here", {of(vm), of(host())}),
              "NETWORK_SRIOV_INSUFFICIENT_CAPACITY");
    EXPECT_EQ(pool.db().get(vm).power_state, xenapi::VmPowerState::halted);
    pool.call("VIF.destroy", {of(vif)});
    pool.call("VM.start_on", {of(vm), of(host()), Value(false), Value(false)});
    EXPECT_EQ(pool.db().get(vm).power_state, xenapi::VmPowerState::running);
}

}  // namespace
}  // namespace basalt::testing
