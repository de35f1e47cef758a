#include "host-agent/services/pci.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

namespace fs = std::filesystem;
using Addresses = std::vector<std::string>;

/// A kernel's folder of PCI devices, made up: a card with two functions, the second of which can
/// be divided, and a bridge.
class Pci : public ::testing::Test {
  protected:
    void SetUp() override {
        plug("0000:3b:00.0", {{"class", "0x020000"}, {"device", "0x1521"}});
        plug("0000:3b:00.1", {{"class", "0x020000"},
                              {"device", "0x1521"},
                              {"sriov_totalvfs", "2"},
                              {"sriov_numvfs", "0"}});
        plug("0000:00:1f.0", {{"class", "0x060180"}, {"device", "0xa309"}});
        folder_.write("pci.ids",
                      "# a list\n8086  Intel\n\t1521  I350\n\t\t1028 1f60  On a board\n"
                      "\t9999  Other\nC 02  Network controller\n\t00  Ethernet controller\n"
                      "C 06  Bridge\n\t00  Host bridge\n");
    }

    [[nodiscard]] PciFolders folders() const {
        return {.devices = folder_.path() + "/sys",
                .names = folder_.path() + "/pci.ids",
                .command_line = folder_.path() + "/cmdline"};
    }

    [[nodiscard]] fs::path device(const std::string& address) const {
        return fs::path(folder_.path()) / "sys" / address;
    }

    void plug(const std::string& address, const std::map<std::string, std::string>& attributes) {
        fs::create_directories(device(address));
        write(address, "vendor", "0x8086");
        write(address, "subsystem_vendor", "0x1028");
        write(address, "subsystem_device", "0x1f60");
        for (const auto& [name, value] : attributes)
            write(address, name, value);
    }

    void write(const std::string& address, const std::string& name, const std::string& value) {
        folder_.write("sys/" + address + "/" + name, value + "\n");
    }

    [[nodiscard]] std::string read(const std::string& address, const std::string& name) const {
        std::ifstream in(device(address) / name);
        std::string line;
        std::getline(in, line);
        return line;
    }

    /// What a driver does when it is told to divide its card.
    void add_function(int number, const std::string& address) {
        plug(address, {{"class", "0x020000"}, {"device", "0x1520"}});
        fs::create_directory_symlink("../0000:3b:00.1", device(address) / "physfn");
        fs::create_directory_symlink("../" + address,
                                     device("0000:3b:00.1") / ("virtfn" + std::to_string(number)));
        write("0000:3b:00.1", "sriov_numvfs", std::to_string(number + 1));
    }

    testing_::Folder folder_;
};

TEST_F(Pci, devices_have_numbers_names_and_neighbours) {
    fs::create_directory_symlink("../../drivers/igb", device("0000:3b:00.0") / "driver");
    add_function(0, "0000:3b:10.1");
    const std::vector<PciFacts> found = pci_devices(folders());
    ASSERT_EQ(found.size(), 4U);
    EXPECT_EQ(found[0].class_name, "Bridge");  // the list has the class, and not the subclass
    EXPECT_EQ(found[0].device_name, "");
    EXPECT_EQ(found[1], (PciFacts{.address = "0000:3b:00.0",
                                  .class_id = "0200",
                                  .class_name = "Ethernet controller",
                                  .vendor_id = "8086",
                                  .vendor_name = "Intel",
                                  .device_id = "1521",
                                  .device_name = "I350",
                                  .subsystem_vendor_id = "1028",
                                  .subsystem_vendor_name = "",
                                  .subsystem_device_id = "1f60",
                                  .subsystem_device_name = "On a board",
                                  .driver = "igb",
                                  .related = {"0000:3b:00.1"}}));
    EXPECT_EQ(found[2].functions_max, 2);
    EXPECT_EQ(found[3].physical_function, "0000:3b:00.1");
    EXPECT_EQ(found[3].related, Addresses{});
    EXPECT_TRUE(pci_devices({.devices = "/nowhere"}).empty());
}

TEST_F(Pci, without_a_list_nothing_has_a_name) {
    const std::vector<PciFacts> found =
        pci_devices({.devices = folder_.path() + "/sys", .names = "/nowhere"});
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[1].vendor_id, "8086");
    EXPECT_EQ(found[1].vendor_name + found[1].device_name + found[1].class_name, "");
}

TEST_F(Pci, what_is_hidden_stands_on_the_command_line) {
    EXPECT_EQ(hidden_pci_devices(std::string("quiet xen-pciback.hide=(0000:3b:00.1)(0000:03:00.0) "
                                             "console=hvc0\n")),
              (Addresses{"0000:03:00.0", "0000:3b:00.1"}));
    EXPECT_EQ(hidden_pci_devices(std::string("xen-pciback.hide=(0000:03:00.0) "
                                             "xen-pciback.hide=(junk)(0000:3b:00.1)")),
              Addresses{"0000:3b:00.1"});
    EXPECT_EQ(hidden_pci_devices(std::string("xen-pciback.passthrough=1")), Addresses{});
    EXPECT_EQ(hidden_pci_devices(folders()), Addresses{});
    folder_.write("cmdline", "xen-pciback.hide=(0000:3b:00.1)\n");
    EXPECT_EQ(hidden_pci_devices(folders()), Addresses{"0000:3b:00.1"});
}

TEST_F(Pci, a_card_is_divided_and_made_whole_again) {
    EXPECT_EQ(set_pci_functions(folders(), "0000:3b:00.1", true), "sysfs");
    EXPECT_EQ(read("0000:3b:00.1", "sriov_numvfs"), "2");
    EXPECT_EQ(set_pci_functions(folders(), "0000:3b:00.1", false), "sysfs");
    EXPECT_EQ(read("0000:3b:00.1", "sriov_numvfs"), "0");
    EXPECT_EQ(set_pci_functions(folders(), "0000:3b:00.1", false), "sysfs");
    EXPECT_EQ(set_pci_functions(folders(), "0000:3b:00.0", true), std::nullopt);
    EXPECT_EQ(set_pci_functions(folders(), "../0000:3b:00.1", true), std::nullopt);
}

TEST_F(Pci, functions_that_somebody_made_stay_as_they_are) {
    write("0000:3b:00.1", "sriov_numvfs", "1");
    EXPECT_EQ(set_pci_functions(folders(), "0000:3b:00.1", true), "manual");
    EXPECT_EQ(read("0000:3b:00.1", "sriov_numvfs"), "1");
}

TEST_F(Pci, what_the_driver_refuses_is_told) {
    fs::remove(device("0000:3b:00.1") / "sriov_numvfs");
    fs::create_directory(device("0000:3b:00.1") / "sriov_numvfs");
    try {
        set_pci_functions(folders(), "0000:3b:00.1", true);
        FAIL();
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code().value(), EISDIR);
    }
}

}  // namespace
}  // namespace basalt::agent
