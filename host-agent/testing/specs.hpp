#pragma once
#include <string>

#include "agent_values.hpp"

/// A VM for tests: one disk, an empty CD drive, one NIC.
namespace basalt::agent::testing {

DiskSpec data_disk(const std::string& device);
DiskSpec cd_drive();
NicSpec nic_of(std::int64_t device, const std::string& vm = "web");
VmSpec web(const std::string& uuid = "web");

}  // namespace basalt::agent::testing
