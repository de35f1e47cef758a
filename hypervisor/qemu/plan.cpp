#include "hypervisor/qemu/plan.hpp"

#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "base/error.hpp"
#include "base/json.hpp"
#include "hypervisor/qemu/platform.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

// Every root port costs a guest under TCG some 0.2 s of boot, and nothing under KVM.
constexpr std::int64_t disk_places_max = 16;
constexpr std::int64_t nic_places_max = 8;
constexpr std::int64_t disk_places_slow = 5;
constexpr std::int64_t nic_places_slow = 3;
constexpr std::size_t cd_drives_max = 6;  // ports of q35's AHCI
constexpr int usb_ports = 8;              // for six devices, a pointer and a spare one
constexpr int ports_slot_first = 0x10;
// Descriptors that QEMU shall open like files have a set each.
constexpr const char* serial_log_file = "/dev/fdset/1";
constexpr const char* nvram_file = "/dev/fdset/2";
constexpr const char* kvm_file = "/dev/fdset/3";
constexpr const char* seed_file = "/dev/fdset/4";
constexpr const char* seed_port = "port-seed";

using Words = std::vector<std::string>;

class CommandLine {
  public:
    explicit CommandLine(const std::string& program) : words_{program} {}

    void flag(const std::string& name) { words_.push_back("-" + name); }

    void option(const std::string& name, const std::string& value) {
        flag(name);
        words_.push_back(value);
    }

    void option(const std::string& name, const Json& value) { option(name, value.dump()); }

    Words take() { return std::move(words_); }

  private:
    Words words_;
};

bool is_cd(const DiskAttachment& disk) {
    return disk.spec.kind == agent::DiskKind::cd;
}

std::vector<DiskAttachment> by_position(std::vector<DiskAttachment> disks) {
    std::ranges::stable_sort(disks, {}, [](const DiskAttachment& d) { return d.spec.position; });
    return disks;
}

std::vector<NicAttachment> by_device(std::vector<NicAttachment> nics) {
    std::ranges::stable_sort(nics, {}, [](const NicAttachment& n) { return n.spec.device; });
    return nics;
}

// Numbers what the firmware may boot: letter by letter, within a letter by position.
class BootOrder {
  public:
    explicit BootOrder(const DomainConfig& config) : config_(config) {
        if (config.spec.boot.kind == agent::BootKind::kernel) return;
        const std::string& order = config.spec.boot.order;
        for (const char letter : order.empty() ? std::string("cd") : order) {
            if (letter == 'c') add_disks(false);
            if (letter == 'd') add_disks(true);
            if (letter == 'n') add_nics();
        }
    }

    [[nodiscard]] int index(const std::string& id) const {
        const auto found = std::ranges::find(ids_, id);
        return found == ids_.end() ? 0 : static_cast<int>(found - ids_.begin()) + 1;
    }

  private:
    void add(const std::string& id) {
        if (index(id) == 0) ids_.push_back(id);
    }

    void add_disks(bool cds) {
        for (const DiskAttachment& disk : by_position(config_.disks))
            if (is_cd(disk) == cds) add(disk_id(disk.spec.device));
    }

    void add_nics() {
        for (const NicAttachment& nic : by_device(config_.nics))
            add(nic_id(nic.spec.device));
    }

    const DomainConfig& config_;
    Words ids_;
};

std::string disk_port(std::int64_t place) {
    return "port-d" + std::to_string(place);
}

std::string nic_port(std::int64_t place) {
    return "port-n" + std::to_string(place);
}

void add_machine(CommandLine& line, const agent::VmSpec& vm, const Machine& machine,
                 const Launch& launch) {
    line.option("name", "guest=" + escaped(vm.uuid) + ",debug-threads=on");
    line.option("uuid", vm.uuid);
    std::string type = "q35,usb=off,vmport=off,dump-guest-core=off";
    if (has_nvram(vm.boot)) type += ",pflash0=firmware,pflash1=variables";
    if (machine.secure_boot) type += ",smm=on";
    line.option("machine", type + machine_switches(vm));
    if (machine.secure_boot) {
        // Only the firmware's own code, in SMM, may write its variables; it has none for S3.
        line.option("global", std::string("driver=cfi.pflash01,property=secure,value=on"));
        line.option("global", std::string("driver=ICH9-LPC,property=disable_s3,value=1"));
    }
    for (const std::string& setting : global_settings(vm, machine.secure_boot))
        line.option("global", setting);
    // A small translation buffer keeps an idle guest some 200 MiB smaller.
    line.option("accel", machine.accelerated ? std::string("kvm,device=") + kvm_file
                                             : std::string("tcg,thread=multi,tb-size=64"));
    line.option("cpu", cpu_model(vm, machine.accelerated));
    for (const std::string& table : firmware_tables(vm))
        line.option("smbios", table);
    line.option("m", "size=" + std::to_string(vm.memory_bytes / 1024) + "k");
    line.option("smp", cpu_topology(vm, machine.vcpus - machine.added_vcpus));
    std::string rtc = "base=utc,clock=host";
    if (vm.rtc_offset_seconds != 0) {
        const std::time_t guest_time = launch.wall_seconds + vm.rtc_offset_seconds;
        std::tm parts{};
        gmtime_r(&guest_time, &parts);
        std::array<char, 32> text{};
        std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
        rtc = std::string("base=") + text.data() + ",clock=host";
    }
    line.option("rtc", rtc + (machine.accelerated ? ",driftfix=slew" : ""));
}

void add_boot(CommandLine& line, const agent::BootSpec& boot, const Machine& machine,
              const DomainPaths& paths, const Installation& installation) {
    if (boot.kind == agent::BootKind::kernel) {
        line.option("kernel", paths.kernel());
        if (!boot.ramdisk.empty()) line.option("initrd", paths.ramdisk());
        if (!boot.args.empty()) line.option("append", boot.args);
        return;
    }
    line.option("boot", std::string("menu=off,strict=off"));
    if (boot.firmware != agent::Firmware::uefi) return;
    line.option("blockdev", Json{{"driver", "file"},
                                 {"node-name", "firmware"},
                                 {"filename", installation.code_of(machine)},
                                 {"read-only", true}});
    line.option("blockdev",
                Json{{"driver", "file"}, {"node-name", "variables"}, {"filename", nvram_file}});
}

std::string listening(const std::string& id, int fd) {
    return "socket,id=" + id + ",fd=" + std::to_string(fd) + ",server=on,wait=off";
}

// The path is for people, and for who looks for processes that belong to it.
void add_descriptor(CommandLine& line, const char* file, int fd, const std::string& path) {
    const std::string set = std::string(file).substr(std::string("/dev/fdset/").size());
    line.option("add-fd", "fd=" + std::to_string(fd) + ",set=" + set + ",opaque=" + escaped(path));
}

void add_descriptors(CommandLine& line, const agent::BootSpec& boot, const Machine& machine,
                     const DomainPaths& paths) {
    add_descriptor(line, serial_log_file, Descriptors::serial_log, paths.serial_log());
    if (has_nvram(boot)) add_descriptor(line, nvram_file, Descriptors::nvram, paths.nvram);
    if (machine.accelerated) add_descriptor(line, kvm_file, Descriptors::kvm, "/dev/kvm");
    if (machine.seed) add_descriptor(line, seed_file, Descriptors::seed, paths.seed());
}

void add_control(CommandLine& line) {
    // The listening socket is ours: a connection can be made before the child has come to life,
    // and breaks if it never does.
    line.option("chardev", listening("qmp", Descriptors::qmp));
    line.option("mon", std::string("chardev=qmp,mode=control"));
    // The log keeps what the guest says while nobody listens.
    line.option("chardev", listening("serial", Descriptors::serial) +
                               ",logfile=" + serial_log_file + ",logappend=on");
    line.option("device", Json{{"driver", "isa-serial"}, {"id", "serial0"}, {"chardev", "serial"}});
    // It listens nowhere: clients are handed over.
    line.option("vnc", std::string("none"));
    line.option("device",
                Json{{"driver", "virtio-serial-pci"}, {"id", "channels"}, {"addr", "0x3"}});
    line.option("chardev", listening("agent", Descriptors::agent));
    line.option("device", Json{{"driver", "virtserialport"},
                               {"id", "agent-port"},
                               {"bus", "channels.0"},
                               {"nr", 1},
                               {"chardev", "agent"},
                               {"name", "org.qemu.guest_agent.0"}});
}

void add_standard_devices(CommandLine& line, const agent::VmSpec& vm) {
    line.option("device", video_device(vm));
    line.option("object",
                Json{{"qom-type", "rng-random"}, {"id", "entropy"}, {"filename", "/dev/urandom"}});
    line.option(
        "device",
        Json{{"driver", "virtio-rng-pci"}, {"id", "rng"}, {"rng", "entropy"}, {"addr", "0x4"}});
    line.option("device", Json{{"driver", "virtio-balloon-pci"},
                               {"id", "balloon"},
                               {"addr", "0x5"},
                               {"guest-stats-polling-interval", 10}});
    line.option("device", Json{{"driver", "pvpanic"}});
}

void add_tpm(CommandLine& line) {
    line.option("chardev", "socket,id=tpm,fd=" + std::to_string(Descriptors::tpm));
    line.option("tpmdev", std::string("emulator,id=tpm0,chardev=tpm"));
    line.option("device", Json{{"driver", "tpm-crb"}, {"id", "tpm-device"}, {"tpmdev", "tpm0"}});
}

// Only guests with a graphical console need a pointer; it polls.
bool has_pointer(const agent::VmSpec& vm) {
    return vm.boot.kind != agent::BootKind::kernel && has_tablet(vm);
}

void add_usb(CommandLine& line, const agent::VmSpec& vm, const Machine& machine) {
    if (!has_usb_controller(vm, machine)) return;
    Json controller = {{"driver", "qemu-xhci"}, {"id", "usb"}, {"addr", "0x6"}};
    // A device has a port of its own speed. Not changed for other guests: saved ones have four.
    if (machine.usb) controller.update({{"p2", usb_ports}, {"p3", usb_ports}});
    line.option("device", controller);
    if (!has_pointer(vm)) return;
    line.option("device", Json{{"driver", "usb-tablet"}, {"id", "tablet"}, {"bus", "usb.0"}});
}

void add_places(CommandLine& line, const Machine& machine) {
    Words ids;
    for (std::int64_t place = 0; place < machine.disk_places; ++place)
        ids.push_back(disk_port(place));
    for (std::int64_t place = 0; place < machine.nic_places; ++place)
        ids.push_back(nic_port(place));
    // Last, so that guests which name disks in the order of ports name this one after them.
    if (machine.seed) ids.emplace_back(seed_port);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto slot = ports_slot_first + static_cast<int>(i / 8);
        std::array<char, 16> address{};
        std::snprintf(address.data(), address.size(), "0x%x.%x", slot, static_cast<int>(i % 8));
        // There is no I/O space for so many bridges, and modern devices need none.
        Json port = {{"driver", "pcie-root-port"},
                     {"id", ids[i]},
                     {"bus", "pcie.0"},
                     {"addr", address.data()},
                     {"chassis", i + 1},
                     {"slot", i + 1},
                     {"io-reserve", 0}};
        if (i % 8 == 0) port["multifunction"] = true;
        line.option("device", port);
    }
}

void add_disks(CommandLine& line, const DomainConfig& config, const Machine& machine,
               const BootOrder& order) {
    for (const DiskAttachment& disk : by_position(config.disks)) {
        if (!disk.nbd_socket.empty()) {
            line.option("blockdev", connection_blockdev(disk));
            line.option("blockdev", disk_blockdev(disk));
        }
        Json device = disk_device(disk, order.index(disk_id(disk.spec.device)));
        if (is_cd(disk)) {
            const auto drive = std::ranges::find(machine.cd_drives, disk.spec.device);
            if (drive == machine.cd_drives.end()) throw err::invalid_device(disk.spec.device);
            device["bus"] = "ide." + std::to_string(drive - machine.cd_drives.begin());
        }
        line.option("device", device);
    }
}

void add_seed(CommandLine& line) {
    line.option("blockdev",
                Json{{"driver", "raw"},
                     {"node-name", "seed"},
                     {"read-only", true},
                     {"file", {{"driver", "file"}, {"filename", seed_file}, {"read-only", true}}}});
    line.option("device", Json{{"driver", "virtio-blk-pci"},
                               {"id", "seed-drive"},
                               {"drive", "seed"},
                               {"bus", seed_port},
                               {"serial", "cloud-init"}});
}

void add_nics(CommandLine& line, const DomainConfig& config, const BootOrder& order) {
    for (const NicAttachment& nic : by_device(config.nics)) {
        const std::string fd = std::to_string(Descriptors::tap(nic.spec.device));
        line.option("netdev", nic_netdev(nic, fd));
        line.option("device", nic_device(nic, order.index(nic_id(nic.spec.device))));
    }
}

void check_socket_length(const DomainPaths& paths) {
    const std::size_t longest = paths.serial().size();
    if (longest >= sizeof(sockaddr_un::sun_path))
        throw err::internal_error("path too long for a socket: " + paths.serial());
}

}  // namespace

void to_json(Json& json, const Machine& value) {
    json = {{"accelerated", value.accelerated},
            {"secure_boot", value.secure_boot},
            {"disk_places", value.disk_places},
            {"nic_places", value.nic_places},
            {"cd_drives", value.cd_drives},
            {"vcpus", value.vcpus},
            {"added_vcpus", value.added_vcpus},
            {"seed", value.seed},
            {"tpm", value.tpm},
            {"usb", value.usb}};
}

void from_json(const Json& json, Machine& value) {
    json.at("accelerated").get_to(value.accelerated);
    value.secure_boot = json.value("secure_boot", false);  // not said before it could be had
    json.at("disk_places").get_to(value.disk_places);
    json.at("nic_places").get_to(value.nic_places);
    json.at("cd_drives").get_to(value.cd_drives);
    value.vcpus = json.value("vcpus", std::int64_t{1});
    value.added_vcpus = json.value("added_vcpus", std::int64_t{0});
    value.seed = json.value("seed", false);
    value.tpm = json.value("tpm", false);
    value.usb = json.value("usb", false);
}

bool has_nvram(const agent::BootSpec& boot) {
    return boot.kind == agent::BootKind::firmware && boot.firmware == agent::Firmware::uefi;
}

Machine plan_machine(const DomainConfig& config, bool accelerated) {
    Machine machine;
    machine.accelerated = accelerated;
    const auto secure = config.spec.platform.find("secureboot");
    machine.secure_boot = has_nvram(config.spec.boot) && secure != config.spec.platform.end() &&
                          secure->second == "true";
    machine.vcpus = std::max<std::int64_t>(config.spec.vcpus, 1);
    machine.seed = config.spec.seed.has_value();
    machine.tpm = config.spec.tpm;
    machine.usb = !config.usbs.empty();
    machine.disk_places = accelerated ? disk_places_max : disk_places_slow;
    machine.nic_places = accelerated ? nic_places_max : nic_places_slow;
    for (const DiskAttachment& disk : by_position(config.disks)) {
        if (is_cd(disk)) {
            machine.cd_drives.push_back(disk.spec.device);
            continue;
        }
        if (disk.spec.position < 0 || disk.spec.position >= disk_places_max)
            throw err::invalid_device(disk.spec.device);
        const std::int64_t wanted = std::min(disk.spec.position + 2, disk_places_max);
        machine.disk_places = std::max(machine.disk_places, wanted);
    }
    if (machine.cd_drives.size() > cd_drives_max)
        throw err::invalid_device(machine.cd_drives.back());
    for (const NicAttachment& nic : config.nics) {
        if (nic.spec.device < 0 || nic.spec.device >= nic_places_max)
            throw err::invalid_device(std::to_string(nic.spec.device));
        const std::int64_t wanted = std::min(nic.spec.device + 2, nic_places_max);
        machine.nic_places = std::max(machine.nic_places, wanted);
    }
    return machine;
}

std::vector<std::string> plan_command_line(const DomainConfig& config, const Machine& machine,
                                           const DomainPaths& paths,
                                           const Installation& installation, Launch launch) {
    check_socket_length(paths);
    const agent::VmSpec& vm = config.spec;
    CommandLine line(installation.program);
    line.flag("nodefaults");
    line.flag("no-user-config");
    line.option("display", std::string("none"));
    line.option("sandbox", std::string("on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                                       "resourcecontrol=deny"));
    add_descriptors(line, vm.boot, machine, paths);
    add_machine(line, vm, machine, launch);
    add_boot(line, vm.boot, machine, paths, installation);
    add_control(line);
    add_standard_devices(line, vm);
    if (machine.tpm) add_tpm(line);
    add_usb(line, vm, machine);
    add_places(line, machine);
    const BootOrder order(config);
    add_disks(line, config, machine, order);
    if (machine.seed) add_seed(line);
    add_nics(line, config, order);
    // Whatever ends the guest leaves the process waiting for us, so that the reason is not lost
    // when nobody listens just then.
    const bool again = vm.on_reboot == agent::OnHalt::restart;
    line.option("action", std::string("reboot=") + (again ? "reset" : "shutdown") +
                              ",shutdown=pause,panic=pause,watchdog=reset");
    if (launch.incoming) line.option("incoming", std::string("defer"));
    line.flag("S");
    return line.take();
}

std::vector<std::string> plan_tpm_command(const DomainPaths& paths,
                                          const Installation& installation, int control) {
    // Its contents are one file, written in place: a folder it could rename in is more than it
    // gets.
    return {installation.tpm_program,
            "socket",
            "--tpm2",
            "--tpmstate",
            "backend-uri=file://" + paths.tpm(),
            "--ctrl",
            "type=unixio,clientfd=" + std::to_string(control),
            "--terminate"};
}

std::string disk_id(const std::string& device) {
    return "vbd-" + device;
}

std::string nic_id(std::int64_t device) {
    return "vif-" + std::to_string(device);
}

std::string netdev_id(std::int64_t device) {
    return "net-" + std::to_string(device);
}

std::string cpu_id(std::int64_t number) {
    return "cpu-" + std::to_string(number);
}

std::string usb_id(const std::string& vusb) {
    return "usb-" + vusb;
}

bool has_usb_controller(const agent::VmSpec& vm, const Machine& machine) {
    return machine.usb || has_pointer(vm);
}

std::string disk_node(const std::string& device) {
    return "disk-" + device;
}

std::string connection_node(const std::string& device, int turn) {
    return "nbd-" + device + "-" + std::to_string(turn);
}

Json connection_blockdev(const DiskAttachment& disk, int turn) {
    return {{"driver", "nbd"},
            {"node-name", connection_node(disk.spec.device, turn)},
            {"server", {{"type", "unix"}, {"path", disk.nbd_socket}}},
            {"export", disk.nbd_export},
            // A storage datapath that restarts is waited for; the guest sees a slow disk.
            {"reconnect-delay", 30},
            {"discard", "unmap"},
            {"read-only", disk.spec.access == agent::Access::ro || is_cd(disk)}};
}

Json disk_blockdev(const DiskAttachment& disk, int turn) {
    return {{"driver", "raw"},
            {"node-name", disk_node(disk.spec.device)},
            {"file", connection_node(disk.spec.device, turn)},
            {"discard", "unmap"},
            {"read-only", disk.spec.access == agent::Access::ro || is_cd(disk)}};
}

Json disk_device(const DiskAttachment& disk, int bootindex) {
    Json device = {{"id", disk_id(disk.spec.device)}};
    if (is_cd(disk)) {
        device["driver"] = "ide-cd";
        if (!disk.nbd_socket.empty()) device["drive"] = disk_node(disk.spec.device);
    } else {
        device["driver"] = "virtio-blk-pci";
        device["drive"] = disk_node(disk.spec.device);
        device["bus"] = disk_port(disk.spec.position);
        // Full disks and failed ones are the guest's to handle: pausing it would go unseen.
        device["werror"] = "report";
        device["rerror"] = "report";
    }
    // What a guest can see of the VBD; virtio takes 20 characters.
    if (!disk.spec.vbd.empty()) device["serial"] = disk.spec.vbd.substr(0, 20);
    if (bootindex > 0) device["bootindex"] = bootindex;
    return device;
}

Json nic_netdev(const NicAttachment& nic, const std::string& descriptor) {
    return {
        {"type", "tap"}, {"id", netdev_id(nic.spec.device)}, {"fd", descriptor}, {"vhost", false}};
}

Json nic_device(const NicAttachment& nic, int bootindex) {
    Json device = {{"driver", "virtio-net-pci"},
                   {"id", nic_id(nic.spec.device)},
                   {"netdev", netdev_id(nic.spec.device)},
                   {"bus", nic_port(nic.spec.device)},
                   {"mac", nic.spec.mac}};
    // On user-space taps an offloaded frame never gets its checksum: ping works and TCP hangs.
    for (const char* offload :
         {"csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo",
          "guest_uso4", "guest_uso6", "host_tso4", "host_tso6", "host_ecn", "host_ufo", "host_uso"})
        device[offload] = false;
    if (nic.spec.mtu > 0 && nic.spec.mtu != 1500) device["host_mtu"] = nic.spec.mtu;
    if (bootindex > 0)
        device["bootindex"] = bootindex;
    else
        device["romfile"] = "";
    return device;
}

Json usb_device(const UsbAttachment& usb, std::int64_t descriptor_set) {
    // The open descriptor: by its number on the bus QEMU would have to open it itself, and may not.
    return {{"driver", "usb-host"},
            {"id", usb_id(usb.spec.vusb)},
            {"bus", "usb.0"},
            {"hostdevice", "/dev/fdset/" + std::to_string(descriptor_set)}};
}

}  // namespace basalt::hv::qemu
