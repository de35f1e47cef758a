#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

/// Everything QEMU is told about a machine, as pure functions of values: no file, clock or process.
namespace basalt::hv::qemu {

/// The files of one domain.
struct DomainPaths {
    std::string dir;
    std::string nvram;  // the UEFI variables; kept when the domain ends

    [[nodiscard]] std::string qmp() const { return dir + "/qmp"; }

    [[nodiscard]] std::string serial() const { return dir + "/serial"; }

    [[nodiscard]] std::string serial_log() const { return dir + "/serial.log"; }

    [[nodiscard]] std::string agent() const { return dir + "/agent"; }

    /// What cloud-init reads.
    [[nodiscard]] std::string seed() const { return dir + "/seed.img"; }

    /// Where the TPM emulator sees the TPM's contents.
    [[nodiscard]] std::string tpm() const { return dir + "/tpm"; }

    [[nodiscard]] std::string stderr_log() const { return dir + "/stderr"; }

    /// Where QEMU sees what it boots directly, until it has read it.
    [[nodiscard]] std::string kernel() const { return dir + "/kernel"; }

    [[nodiscard]] std::string ramdisk() const { return dir + "/ramdisk"; }

    [[nodiscard]] std::string descriptor() const { return dir + "/domain.json"; }
};

/// What a machine has beyond its spec. A saved guest must come back to the same one, so this goes
/// into the descriptor and in front of saved memory.
struct Machine {
    bool accelerated = false;
    /// The firmware starts only what is signed by a key of its variables.
    bool secure_boot = false;
    /// Hotplug places: disk `n` sits at place n, so that order of plugging does not matter.
    std::int64_t disk_places = 0;
    std::int64_t nic_places = 0;
    /// CD drives in order of position; their number is fixed while the domain lives.
    std::vector<std::string> cd_drives;
    /// Virtual CPUs that are plugged; more than the spec's when the guest was told to use fewer.
    std::int64_t vcpus = 1;
    /// Those of them that were added while it ran.
    std::int64_t added_vcpus = 0;
    /// It has the drive that cloud-init reads, in a place of its own after all disks.
    bool seed = false;
    bool tpm = false;
    /// It was made for USB devices of the host; others have a controller only for a pointer.
    bool usb = false;
    bool operator==(const Machine&) const = default;
};

void to_json(nlohmann::json& json, const Machine& value);
void from_json(const nlohmann::json& json, Machine& value);

/// Programs and files of the installed QEMU.
struct Installation {
    std::string program = "qemu-system-x86_64";
    std::string firmware_code = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    std::string firmware_code_secure = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
    /// What a machine's variables are at first. With Microsoft's keys, which the firmware without
    /// secure boot does not look at: so `secureboot` can be switched on later.
    std::string firmware_vars = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

    std::string tpm_program = "swtpm";

    [[nodiscard]] const std::string& code_of(const Machine& machine) const {
        return machine.secure_boot ? firmware_code_secure : firmware_code;
    }
};

struct Launch {
    std::int64_t wall_seconds = 0;  // since 1970: the guest's clock starts from it
    bool incoming = false;          // wait for saved memory
};

/// The numbers of the descriptors that the process inherits.
struct Descriptors {
    static constexpr int qmp = 3;  // listening, like the next two
    static constexpr int serial = 4;
    static constexpr int agent = 5;
    static constexpr int serial_log = 6;
    static constexpr int nvram = 7;
    static constexpr int kvm = 8;
    static constexpr int seed = 9;
    static constexpr int tpm = 10;  // connected to the TPM emulator

    static int tap(std::int64_t device) { return 16 + static_cast<int>(device); }
};

/// Whether the machine keeps variables of its firmware.
bool has_nvram(const agent::BootSpec& boot);

/// Places for all of `config` and spare ones. Throws INVALID_DEVICE for a position or a number
/// of CD drives that no machine has.
Machine plan_machine(const DomainConfig& config, bool accelerated);

std::vector<std::string> plan_command_line(const DomainConfig& config, const Machine& machine,
                                           const DomainPaths& paths,
                                           const Installation& installation, Launch launch);

/// The TPM emulator of a machine that has one: `control` is the number of the descriptor by which
/// QEMU commands it, and it ends with that connection.
std::vector<std::string> plan_tpm_command(const DomainPaths& paths,
                                          const Installation& installation, int control);

// The parts that hotplug uses too. Names are derived from the XenAPI device, so nothing needs to be
// remembered.

/// `vbd-xvda`, `vif-0`: the ids of devices as QEMU reports them.
std::string disk_id(const std::string& device);
std::string nic_id(std::int64_t device);
std::string netdev_id(std::int64_t device);
/// `cpu-2`: the id of a virtual CPU that was added while the guest ran.
std::string cpu_id(std::int64_t number);
/// `usb-UUID`, of the VUSB.
std::string usb_id(const std::string& vusb);
/// Whether the machine has something that USB devices can be plugged into.
bool has_usb_controller(const agent::VmSpec& vm, const Machine& machine);
/// The format node a device uses, and the protocol node below it. `turn` tells apart two
/// connections to one disk, old and new.
std::string disk_node(const std::string& device);
std::string connection_node(const std::string& device, int turn = 0);

nlohmann::json connection_blockdev(const DiskAttachment& disk, int turn = 0);
nlohmann::json disk_blockdev(const DiskAttachment& disk, int turn = 0);
/// `bootindex` 0: none.
nlohmann::json disk_device(const DiskAttachment& disk, int bootindex = 0);
/// `descriptor`: its number, or the name under which it was handed over.
nlohmann::json nic_netdev(const NicAttachment& nic, const std::string& descriptor);
nlohmann::json nic_device(const NicAttachment& nic, int bootindex = 0);
/// `descriptor_set`: the number of the set of descriptors that has the open device.
nlohmann::json usb_device(const UsbAttachment& usb, std::int64_t descriptor_set);

}  // namespace basalt::hv::qemu
