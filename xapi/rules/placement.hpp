#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

/// Where a VM may run, and where it runs best. Pure.
namespace basalt::rules {

struct HostView {
    std::string ref;
    bool enabled = false;
    bool live = false;
    bool leaving = false;                      // evacuate, reboot or shutdown runs
    std::int64_t memory_free_bytes = 0;        // not promised to any VM
    std::int64_t memory_squeezable_bytes = 0;  // that running guests can be made to give up
    std::int64_t pcpus = 0;
    std::vector<std::string>
        missing_srs;  // refs of SRs that the VM needs and the host has not plugged
    std::vector<std::string> missing_networks;
    std::string missing_usb_group;  // ref of one that the VM needs a device of; empty: none
    std::string full_network;       // ref of one whose cards have too few functions; empty: none
    bool lacks_iommu = false;       // and the VM needs functions of cards
    bool lacks_functions = false;   // the same of its hypervisor
};

struct Demand {
    std::string vm;                 // ref
    std::int64_t memory_bytes = 0;  // the least that it starts with, and its overhead
    std::string affinity;           // host ref or empty
};

/// Why the VM cannot boot on the host, with the real server's error.
std::optional<ApiError> why_not(const HostView& host, const Demand& demand);

/// The host to use: the VM's affinity when it can, else the one with the most free memory (ties: by
/// ref). With one host its own reason is thrown, with more NO_HOSTS_AVAILABLE.
const HostView& choose_host_or_throw(const std::vector<HostView>& hosts, const Demand& demand);

}  // namespace basalt::rules
