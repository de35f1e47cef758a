#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent_values.hpp"

/// The configuration file of a host (TOML), as far as hostd reads it. xapi reads the same file, so
/// sections that are not ours are left alone.
namespace basalt::agent {

struct HostConfig {
    std::string uuid;
    std::string hostname;
    std::string address;  // CIDR of the management interface; empty: DHCP
    std::string gateway;  // of the management interface; empty: none
    std::vector<std::string> dns;
    std::string management = "eth0";
    std::string boot_id;         // instead of the kernel's, for hosts that share a kernel
    std::int64_t boot_time = 0;  // the same, in seconds since 1970
    std::string state;           // folder of all that hostd keeps
};

struct HostdConfig {
    std::string socket;
    std::string backend = "qemu";                            // qemu, xen, sim
    std::int64_t sim_memory_bytes = std::int64_t{16} << 30;  // of the machine that sim is
    std::string pam_dir;                                     // instead of /etc/pam.d
    std::string pam_service = "xapi";
    std::string ovsdb = "/var/run/openvswitch/db.sock";
    std::string ovs_datapath = "system";  // system, netdev
    /// The host's key and certificate, by which the switch proves itself to who manages it.
    std::string certificate = "/var/lib/basalt/xapi/tls.pem";
    /// The file whose one word, `bridge` or `openvswitch`, chooses the network backend.
    std::string network_conf = "/etc/xensource/network.conf";
    std::string plugin_dir = "/etc/xapi.d/plugins";
    std::string extension_dir = "/etc/xapi.d/extensions";
    std::string etc_dir = "/etc";  // settings of the machine are files below it
    /// What tells the machine's services of changes, switches it off and packs its logs.
    std::vector<std::string> control = {"/usr/libexec/basalt/host-control"};
    std::string qemu = "/usr/bin/qemu-system-x86_64";
    std::string qsd = "/usr/bin/qemu-storage-daemon";
    std::string run_dir = "/run/basalt";
    std::vector<std::string> console_program = {"/bin/login"};  // at the host's own console
    std::int64_t xapi_uid = -1;                                 // who besides root may connect
    std::string launcher = "/usr/libexec/basalt/confine";
    std::int64_t uid_first = 66000;                // of two thousand users for guests
    std::string usb_dir = "/sys/bus/usb/devices";  // USB devices that guests may be given
    std::string pci_dir = "/sys/bus/pci/devices";  // PCI devices of the host
    std::string boot_dir = "/boot/guest";          // kernels that guests may be started from
};

struct StorageConfig {
    std::optional<LocalSr> local_sr;
    std::string iso_sr;
    std::string worker = "/usr/libexec/basalt/sm-worker";
};

struct Config {
    HostConfig host;
    HostdConfig hostd;
    StorageConfig storage;
    /// Keys of our sections that nobody reads: most likely misspelt. For a warning.
    std::vector<std::string> unknown;
};

/// Throws std::invalid_argument with file, line and key for what is missing, of the wrong type or
/// out of range.
Config parse_config(std::string_view text, const std::string& file);
/// Also throws std::system_error when the file cannot be read.
Config load_config(const std::string& file);

/// `bridge` or `openvswitch`, as `file` says; openvswitch when there is no such file. Throws
/// std::invalid_argument for any other word.
std::string network_backend(const std::string& file);

}  // namespace basalt::agent
