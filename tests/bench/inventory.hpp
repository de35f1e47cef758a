#pragma once
#include <string>
#include <vector>

#include "tests/bench/client.hpp"

namespace basalt::bench {

/// What was made through the API. Many connections at once: writes are durable, and share the disk.
struct Inventory {
    std::vector<std::string> vms;

    void add_vms(const Target& target, const std::string& session, int count);
    /// Two disks with their VBDs and a NIC for each VM.
    void add_devices(const Target& target, const std::string& session);
    /// Starts them all, and waits until each has consoles and its guest has told of itself.
    void start_vms(const Target& target, const std::string& session);
};

}  // namespace basalt::bench
