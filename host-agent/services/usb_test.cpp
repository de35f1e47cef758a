#include "host-agent/services/usb.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

/// A kernel's folder of USB devices, made up.
class Usb : public ::testing::Test {
  protected:
    [[nodiscard]] UsbFolders folders() const {
        return {.devices = folder_.path() + "/sys", .nodes = "/dev/bus/usb"};
    }

    void plug(const std::string& path, const std::map<std::string, std::string>& attributes) {
        std::filesystem::create_directories(folder_.path() + "/sys/" + path);
        for (const auto& [name, value] : attributes)
            folder_.write("sys/" + path + "/" + name, value + "\n");
    }

    void plug_stick(const std::string& path, const std::string& address) {
        plug(path, {{"idVendor", "0781"},
                    {"idProduct", "5591"},
                    {"version", " 2.10"},
                    {"speed", "480"},
                    {"serial", "4C53"},
                    {"manufacturer",
                     "San\x01"
                     "Disk "},
                    {"product", "Ultra"},
                    {"bDeviceClass", "00"},
                    {"busnum", "1"},
                    {"devnum", address}});
    }

  private:
    testing_::Folder folder_;
};

TEST_F(Usb, devices_are_told_and_hubs_and_interfaces_are_not) {
    plug_stick("1-2.3", "7");
    plug("1-10", {{"idVendor", "046d"}, {"idProduct", "c31c"}, {"speed", "1.5"}});
    plug("usb1", {{"idVendor", "1d6b"}, {"idProduct", "0002"}});
    plug("1-2", {{"idVendor", "1d6b"}, {"idProduct", "0104"}, {"bDeviceClass", "09"}});
    plug("1-2.3:1.0", {{"idVendor", "0781"}, {"idProduct", "5591"}});
    plug("1-4", {});  // pulled out just now
    const std::vector<UsbFacts> found = usb_devices(folders());
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].path, "1-10");
    EXPECT_EQ(found[0].speed_mbps, 1.5);
    EXPECT_EQ(found[0].serial, "");
    EXPECT_EQ(found[1], (UsbFacts{.path = "1-2.3",
                                  .vendor_id = "0781",
                                  .product_id = "5591",
                                  .version = "2.10",
                                  .speed_mbps = 480,
                                  .serial = "4C53",
                                  .vendor_desc = "SanDisk",
                                  .product_desc = "Ultra"}));
    EXPECT_TRUE(usb_devices({.devices = "/nowhere"}).empty());
}

TEST_F(Usb, a_device_is_opened_only_where_it_is_the_one_that_was_meant) {
    plug_stick("1-2.3", "7");
    const UsbSpec spec{.path = "1-2.3", .vendor_id = "0781", .product_id = "5591"};
    EXPECT_EQ(usb_node(folders(), spec), "/dev/bus/usb/001/007");
    plug_stick("1-2.3", "12");  // pulled out and plugged in again
    EXPECT_EQ(usb_node(folders(), spec), "/dev/bus/usb/001/012");
    UsbSpec other = spec;
    other.product_id = "5592";
    EXPECT_EQ(usb_node(folders(), other), std::nullopt);
    other = spec;
    other.path = "1-2.4";
    EXPECT_EQ(usb_node(folders(), other), std::nullopt);
    other.path = "../sys/1-2.3";
    EXPECT_EQ(usb_node(folders(), other), std::nullopt);
    plug_stick("1-2.3", "none");
    EXPECT_EQ(usb_node(folders(), spec), std::nullopt);
}

}  // namespace
}  // namespace basalt::agent
