#include "hypervisor/xen/devices.hpp"

#include "base/error.hpp"
#include "hypervisor/xen/domain_config.hpp"
#include "hypervisor/xen/xl.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

// Of ten seconds each, in which a guest may let go of a disk.
constexpr int unplug_rounds = 3;

using OwnedDisk = Owned<libxl_device_disk, libxl_device_disk_init, libxl_device_disk_dispose>;
using OwnedNic = Owned<libxl_device_nic, libxl_device_nic_init, libxl_device_nic_dispose>;

std::uint32_t number_of(DomId dom) {
    return static_cast<std::uint32_t>(dom);
}

/// The library's list of a domain's devices of one kind.
template <class T, T* (*List)(libxl_ctx*, std::uint32_t, int*), void (*Free)(T*, int)>
class Devices {
  public:
    Devices(const Xl& xl, DomId dom) : list_(List(xl.get(), number_of(dom), &count_)) {}

    ~Devices() {
        if (list_ != nullptr) Free(list_, count_);
    }

    Devices(const Devices&) = delete;
    Devices& operator=(const Devices&) = delete;

    template <class Is>
    T* find(Is is) {
        for (int index = 0; index < count_; ++index)
            if (is(list_[index])) return &list_[index];
        return nullptr;
    }

  private:
    int count_ = 0;  // before the list, which fills it in
    T* list_;
};

class Disks
    : public Devices<libxl_device_disk, libxl_device_disk_list, libxl_device_disk_list_free> {
  public:
    using Devices::Devices;

    libxl_device_disk* of(const std::string& device) {
        return find([&device](const libxl_device_disk& one) { return device == one.vdev; });
    }
};

class Nics : public Devices<libxl_device_nic, libxl_device_nic_list, libxl_device_nic_list_free> {
  public:
    using Devices::Devices;

    libxl_device_nic* of(std::int64_t device) {
        return find([device](const libxl_device_nic& one) { return device == one.devid; });
    }
};

}  // namespace

void add_disk(DomId dom, const agent::BootSpec& boot, const agent::DiskSpec& disk,
              const std::string& path) {
    const Xl xl(Use::works);
    if (Disks(xl, dom).of(disk.device) != nullptr) return;
    OwnedDisk made;
    fill(*made.get(), boot, disk, path);
    const int code = libxl_device_disk_add(xl.get(), number_of(dom), made.get(), nullptr);
    if (code == 0) return;
    // A backend that failed would stay in the store, and in the way of a later restore.
    const Xl again(Use::works);
    libxl_device_disk_destroy(again.get(), number_of(dom), made.get(), nullptr);
    xl.check("libxl_device_disk_add", code);
}

void remove_disk(DomId dom, const agent::DiskSpec& disk, bool force) {
    // Not libxl_device_disk_remove: after ten seconds it takes away by force what a guest uses.
    const auto remove = force ? libxl_device_disk_destroy : libxl_device_disk_safe_remove;
    // Asked again it goes on waiting. Others may work in between.
    for (int round = 1;; ++round) {
        const Xl xl(Use::works);
        Disks disks(xl, dom);
        libxl_device_disk* const found = disks.of(disk.device);
        if (found == nullptr) return;
        const int code = remove(xl.get(), number_of(dom), found, nullptr);
        if (code == ERROR_TIMEDOUT && round < unplug_rounds) continue;
        if (code == ERROR_TIMEDOUT) throw err::device_detach_timeout("VBD", disk.vbd);
        return xl.check("libxl_device_disk_safe_remove", code);
    }
}

void change_cd(DomId dom, const agent::BootSpec& boot, const agent::DiskSpec& disk,
               const std::string& path) {
    const Xl xl(Use::works);
    OwnedDisk made;
    fill(*made.get(), boot, disk, path);
    xl.check("libxl_cdrom_insert",
             libxl_cdrom_insert(xl.get(), number_of(dom), made.get(), nullptr));
}

void add_nic(DomId dom, const NicAttachment& nic) {
    const Xl xl(Use::works);
    if (Nics(xl, dom).of(nic.spec.device) != nullptr) return;
    OwnedNic made;
    fill(*made.get(), nic);
    const int code = libxl_device_nic_add(xl.get(), number_of(dom), made.get(), nullptr);
    if (code == 0) return;
    const Xl again(Use::works);
    libxl_device_nic_destroy(again.get(), number_of(dom), made.get(), nullptr);
    xl.check("libxl_device_nic_add", code);
}

void remove_nic(DomId dom, const agent::NicSpec& nic, bool force) {
    const Xl xl(Use::works);
    Nics nics(xl, dom);
    libxl_device_nic* const found = nics.of(nic.device);
    if (found == nullptr) return;
    const int code = force ? libxl_device_nic_destroy(xl.get(), number_of(dom), found, nullptr)
                           : libxl_device_nic_remove(xl.get(), number_of(dom), found, nullptr);
    if (code == ERROR_TIMEDOUT) throw err::device_detach_timeout("VIF", nic.vif);
    xl.check("libxl_device_nic_remove", code);
}

}  // namespace basalt::hv::xen
