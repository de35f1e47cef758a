#include "host-agent/testing/specs.hpp"

namespace basalt::agent::testing {

DiskSpec data_disk(const std::string& device) {
    DiskSpec disk;
    disk.vbd = "vbd-" + device;
    disk.device = device;
    disk.position = device.back() - 'a';
    disk.access = Access::rw;
    disk.disk = DiskRef{"sr", "vdi-" + device, "vdi-" + device};
    return disk;
}

DiskSpec cd_drive() {
    DiskSpec disk;
    disk.vbd = "vbd-xvdd";
    disk.device = "xvdd";
    disk.position = 3;
    disk.kind = DiskKind::cd;
    return disk;
}

NicSpec nic_of(std::int64_t device, const std::string& vm) {
    NicSpec nic;
    nic.vif = vm + "-nic-" + std::to_string(device);
    nic.device = device;
    nic.mac = "02:00:00:00:00:0" + std::to_string(device);
    nic.bridge = "xenbr0";
    nic.mtu = 1500;
    return nic;
}

VmSpec web(const std::string& uuid) {
    VmSpec spec;
    spec.uuid = uuid;
    spec.name = uuid;
    spec.memory_bytes = 256LL * 1024 * 1024;
    spec.vcpus = spec.vcpus_max = 1;
    DiskSpec root = data_disk("xvda");
    root.disk->vdi = "vdi-" + uuid;
    spec.disks = {root, cd_drive()};
    spec.nics = {nic_of(0, uuid)};
    spec.on_shutdown = OnHalt::destroy;
    spec.on_reboot = OnHalt::restart;
    spec.on_crash = OnHalt::restart;
    return spec;
}

}  // namespace basalt::agent::testing
