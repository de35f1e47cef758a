#pragma once
#include <optional>
#include <string>
#include <vector>

#include "agent_values.hpp"

/// USB devices as the kernel shows them. Both calls read a few small files on the calling thread.
namespace basalt::agent {

/// Where the kernel shows them, and where it lets them be opened.
struct UsbFolders {
    std::string devices = "/sys/bus/usb/devices";
    std::string nodes = "/dev/bus/usb";
};

/// Those that are plugged in, hubs excepted, sorted by path. None where the kernel has no USB.
std::vector<UsbFacts> usb_devices(const UsbFolders& folders);

/// The file by which the device at `spec.path` is opened; nothing when there is none there, or one
/// of another kind than `spec` says.
std::optional<std::string> usb_node(const UsbFolders& folders, const UsbSpec& spec);

}  // namespace basalt::agent
