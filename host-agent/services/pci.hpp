#pragma once
#include <optional>
#include <string>
#include <vector>

#include "agent_values.hpp"

/// PCI devices as the kernel shows them. Every call reads a few small files on the calling thread.
namespace basalt::agent {

/// Where they are shown. Other places in tests and developers' runs.
struct PciFolders {
    std::string devices = "/sys/bus/pci/devices";
    std::string names = "/usr/share/misc/pci.ids";  ///< may be missing: then nothing has a name
    std::string command_line = "/proc/cmdline";     ///< of the kernel that runs
};

/// All of them, sorted by address. None where the kernel has no PCI.
std::vector<PciFacts> pci_devices(const PciFolders& folders);

/// Addresses that a kernel with this command line leaves to guests from its start on.
std::vector<std::string> hidden_pci_devices(const std::string& command_line);

/// The same of the kernel that runs.
std::vector<std::string> hidden_pci_devices(const PciFolders& folders);

/// Divides the device into as many virtual functions as it can have, or takes all away. Answers
/// `manual` where there are some already, which stay as they are, else `sysfs`; nothing for a
/// device that has none. Throws std::system_error with what the driver says.
std::optional<std::string> set_pci_functions(const PciFolders& folders, const std::string& address,
                                             bool enabled);

}  // namespace basalt::agent
