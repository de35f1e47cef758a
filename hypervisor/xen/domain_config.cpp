#include "hypervisor/xen/domain_config.hpp"

#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::int64_t kibibyte = 1024;

// The library frees what its structures hold.
char* owned(const std::string& text) {
    return text.empty() ? nullptr : ::strdup(text.c_str());
}

// The first `online` of `all` virtual processors are there when the guest starts.
void set_online(libxl_bitmap& bits, std::int64_t online, std::int64_t all) {
    bits.size = static_cast<std::uint32_t>((all + 7) / 8);
    bits.map = static_cast<std::uint8_t*>(std::calloc(bits.size, 1));
    for (std::int64_t number = 0; number < online; ++number)
        libxl_bitmap_set(&bits, static_cast<int>(number));
}

}  // namespace

void require_possible(const DomainConfig& config) {
    if (config.spec.boot.kind != agent::BootKind::kernel)
        throw err::operation_not_allowed(
            "On Xen, this host starts guests from a kernel only, not by firmware");
    if (!config.disks.empty())
        throw err::operation_not_allowed("On Xen, this host gives guests no disks yet");
    if (config.spec.seed)
        throw err::operation_not_allowed("On Xen, this host gives guests no cloud-init drive yet");
    if (!config.nics.empty())
        throw err::operation_not_allowed("On Xen, this host gives guests no network devices yet");
}

void fill(libxl_domain_config& out, const DomainConfig& config) {
    const agent::VmSpec& spec = config.spec;
    out.c_info.type = LIBXL_DOMAIN_TYPE_PVH;
    // Names are unique on a host of Xen's, those of VMs are not.
    out.c_info.name = owned(spec.uuid);
    libxl_uuid_from_string(&out.c_info.uuid, spec.uuid.c_str());
    // What xl would do by itself; hostd decides that.
    out.on_poweroff = out.on_reboot = out.on_crash = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;

    libxl_domain_build_info& build = out.b_info;
    libxl_domain_build_info_init_type(&build, LIBXL_DOMAIN_TYPE_PVH);
    build.max_vcpus = static_cast<int>(spec.vcpus_max);
    set_online(build.avail_vcpus, spec.vcpus, spec.vcpus_max);
    build.max_memkb = static_cast<std::uint64_t>(spec.memory_bytes / kibibyte);
    build.target_memkb = spec.memory_target_bytes > 0
                             ? static_cast<std::uint64_t>(spec.memory_target_bytes / kibibyte)
                             : build.max_memkb;
    build.rtc_timeoffset = static_cast<std::uint32_t>(spec.rtc_offset_seconds);
    build.kernel = owned(spec.boot.kernel);
    build.ramdisk = owned(spec.boot.ramdisk);
    build.cmdline = owned(spec.boot.args);
}

}  // namespace basalt::hv::xen
