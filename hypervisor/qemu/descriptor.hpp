#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "hypervisor/qemu/plan.hpp"

/// The file beside each domain from which a later hostd takes it over.
namespace basalt::hv::qemu {

struct Descriptor {
    DomId dom = 0;
    /// False while `create` is under way: who finds it so undoes it.
    bool complete = false;
    /// The process, told apart from a later one with its number by when it started.
    pid_t pid = 0;
    std::uint64_t process_start = 0;
    /// The TPM emulator's, alike; 0: there is none.
    pid_t tpm_pid = 0;
    std::uint64_t tpm_process_start = 0;
    std::string boot_id;
    std::int64_t started_at = 0;  // seconds since 1970
    Machine machine;
    DomainConfig config;  // what is plugged now
    bool operator==(const Descriptor&) const = default;
};

void to_json(nlohmann::json& json, const Descriptor& value);
void from_json(const nlohmann::json& json, Descriptor& value);

// All of these block: call them off the loop.

/// Replaces the file at once: a reader sees the old or the new one. Throws INTERNAL_ERROR.
void write_file(const std::string& path, const std::string& text);
/// Empty when it cannot be read.
std::string read_file(const std::string& path);
/// None when it is missing or broken.
std::optional<Descriptor> read_descriptor(const std::string& path);

/// The kernel's word for this boot.
std::string host_boot_id();
/// When the process started, in the kernel's ticks; 0: there is none.
std::uint64_t process_start(pid_t pid);
/// Processes whose command line mentions `text`.
std::vector<pid_t> processes_mentioning(const std::string& text);

/// The next domid of this host: a counter in `path` that only grows.
DomId next_domid(const std::string& path);

}  // namespace basalt::hv::qemu
