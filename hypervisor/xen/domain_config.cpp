#include "hypervisor/xen/domain_config.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hypervisor/xen/platform.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::int64_t kibibyte = 1024;
// Gives the interface that the kernel has made for a NIC the name that hostd knows.
constexpr const char* interface_script = "/usr/libexec/basalt/guest-interface";
// Tells blkback which block device a disk is.
constexpr const char* disk_script = "/usr/libexec/basalt/guest-disk";

// The library frees what its structures hold.
char* owned(const std::string& text) {
    return text.empty() ? nullptr : ::strdup(text.c_str());
}

template <class T>
T* array(std::size_t count) {
    return static_cast<T*>(std::calloc(std::max<std::size_t>(count, 1), sizeof(T)));
}

// The first `online` of `all` virtual processors are there when the guest starts.
void set_online(libxl_bitmap& bits, std::int64_t online, std::int64_t all) {
    bits.size = static_cast<std::uint32_t>((all + 7) / 8);
    bits.map = static_cast<std::uint8_t*>(std::calloc(bits.size, 1));
    for (std::int64_t number = 0; number < online; ++number)
        libxl_bitmap_set(&bits, static_cast<int>(number));
}

libxl_string_list words(std::initializer_list<std::string> texts) {
    auto* const list = array<char*>(texts.size() + 1);
    std::ranges::transform(texts, list, owned);
    return list;
}

libxl_domain_type type_of(const agent::BootSpec& boot) {
    if (has_device_model(boot)) return LIBXL_DOMAIN_TYPE_HVM;
    return boot.paravirtual ? LIBXL_DOMAIN_TYPE_PV : LIBXL_DOMAIN_TYPE_PVH;
}

void fill_kernel(libxl_domain_build_info& build, const agent::BootSpec& boot,
                 const std::optional<FoundKernel>& found) {
    build.kernel = owned(found ? found->kernel : boot.kernel);
    build.ramdisk = owned(found ? found->ramdisk : boot.ramdisk);
    build.cmdline = owned(found ? found->args : boot.args);
}

void fill_firmware(libxl_domain_build_info& build, const agent::BootSpec& boot,
                   const Sources& from) {
    auto& machine = build.u.hvm;
    machine.bios = has_uefi(boot) ? LIBXL_BIOS_TYPE_OVMF : LIBXL_BIOS_TYPE_SEABIOS;
    // Where the library looks, Debian's package has one that knows nothing of Xen.
    if (has_uefi(boot)) machine.system_firmware = owned(from.uefi);
    machine.boot = owned(boot.order.empty() ? "cd" : boot.order);
    machine.serial = owned("pty");
    // Not at a port of the loopback address, where every program of this system could look.
    libxl_defbool_set(&machine.vnc.enable, false);
    build.extra_hvm = words({"-vnc", "unix:" + from.screen});
}

}  // namespace

bool has_device_model(const agent::BootSpec& boot) {
    return boot.kind == agent::BootKind::firmware && !brings_kernel(boot);
}

bool has_uefi(const agent::BootSpec& boot) {
    return has_device_model(boot) && boot.firmware == agent::Firmware::uefi;
}

void require_firmware(const agent::VmSpec& spec, bool found) {
    if (!has_uefi(spec.boot)) return;
    const auto secure = spec.platform.find("secureboot");
    if (secure != spec.platform.end() && secure->second == "true")
        throw err::operation_not_allowed("On Xen, this host gives guests no Secure Boot");
    if (!found) throw err::operation_not_allowed("On Xen, this host has no UEFI for guests");
}

bool brings_kernel(const agent::BootSpec& boot) {
    return !boot.bootloader.empty();
}

void fill(libxl_domain_config& out, const DomainConfig& config, const Sources& from) {
    const agent::VmSpec& spec = config.spec;
    out.c_info.type = type_of(spec.boot);
    // Names are unique on a host of Xen's, those of VMs are not.
    out.c_info.name = owned(spec.uuid);
    libxl_uuid_from_string(&out.c_info.uuid, spec.uuid.c_str());
    // What xl would do by itself; hostd decides that.
    out.on_poweroff = out.on_reboot = out.on_crash = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;

    libxl_domain_build_info& build = out.b_info;
    libxl_domain_build_info_init_type(&build, out.c_info.type);
    if (has_device_model(spec.boot))
        fill_firmware(build, spec.boot, from);
    else
        fill_kernel(build, spec.boot, from.found);
    fill_platform(out, spec);
    build.max_vcpus = static_cast<int>(spec.vcpus_max);
    set_online(build.avail_vcpus, spec.vcpus, spec.vcpus_max);
    build.max_memkb = static_cast<std::uint64_t>(spec.memory_bytes / kibibyte);
    build.target_memkb = spec.memory_target_bytes > 0
                             ? static_cast<std::uint64_t>(spec.memory_target_bytes / kibibyte)
                             : build.max_memkb;
    build.rtc_timeoffset = static_cast<std::uint32_t>(spec.rtc_offset_seconds);

    out.disks = array<libxl_device_disk>(config.disks.size());
    for (const DiskAttachment& disk : config.disks) {
        const auto path = from.disks.find(disk.spec.device);
        // Nobody emulates an empty drive for it: it gets a disk when there is a medium.
        if (path == from.disks.end() && !has_device_model(spec.boot)) continue;
        libxl_device_disk& made = out.disks[out.num_disks++];
        libxl_device_disk_init(&made);
        fill(made, spec.boot, disk.spec, path == from.disks.end() ? "" : path->second);
    }
    out.nics = array<libxl_device_nic>(config.nics.size());
    for (const NicAttachment& nic : config.nics) {
        libxl_device_nic& made = out.nics[out.num_nics++];
        libxl_device_nic_init(&made);
        fill(made, nic);
    }
}

void fill(libxl_device_disk& out, const agent::BootSpec& boot, const agent::DiskSpec& disk,
          const std::string& path) {
    out.vdev = owned(disk.device);
    out.pdev_path = owned(path);
    out.format = path.empty() ? LIBXL_DISK_FORMAT_EMPTY : LIBXL_DISK_FORMAT_RAW;
    out.readwrite = disk.access == agent::Access::rw ? 1 : 0;
    if (disk.kind == agent::DiskKind::cd && has_device_model(boot)) {
        out.is_cdrom = out.removable = 1;
        return;  // which backend serves an emulated drive, the library knows
    }
    out.backend = LIBXL_DISK_BACKEND_PHY;
    out.script = owned(disk_script);
    // Below is a server's cache-less socket, not a page that somebody may still be sending.
    out.direct_io_safe = true;
}

void fill(libxl_device_nic& out, const NicAttachment& nic) {
    out.devid = static_cast<int>(nic.spec.device);
    for (std::size_t i = 0; i < sizeof out.mac && nic.spec.mac.size() == 17; ++i)
        out.mac[i] = static_cast<std::uint8_t>(std::strtoul(&nic.spec.mac[3 * i], nullptr, 16));
    out.mtu = static_cast<int>(nic.spec.mtu);
    out.ifname = owned(nic.tap);
    out.script = owned(interface_script);
    // An emulated one beside it would be a second interface of this system, and slow.
    out.nictype = LIBXL_NIC_TYPE_VIF;
}

}  // namespace basalt::hv::xen
