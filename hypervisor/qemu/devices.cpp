#include <algorithm>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/handed.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

// A guest lets go within a second unless it is busy booting or does not want to.
constexpr Duration removal_limit = 20s;
constexpr Duration forced_removal_limit = 3s;
constexpr Duration ask_again_after = 4s;

auto find_disk(Domain& domain, const std::string& device) {
    return std::ranges::find_if(domain.descriptor.config.disks, [&device](const DiskAttachment& d) {
        return d.spec.device == device;
    });
}

auto find_nic(Domain& domain, std::int64_t device) {
    return std::ranges::find_if(domain.descriptor.config.nics, [device](const NicAttachment& n) {
        return n.spec.device == device;
    });
}

DiskAttachment disk_or_throw(Domain& domain, const std::string& device) {
    const auto found = find_disk(domain, device);
    if (found == domain.descriptor.config.disks.end()) throw err::device_not_attached(device);
    return *found;
}

void forget_disk(Domain& domain, const std::string& device) {
    std::erase_if(domain.descriptor.config.disks,
                  [&device](const DiskAttachment& d) { return d.spec.device == device; });
}

// Which of the two connections of a disk is in use is QEMU's knowledge; either may be absent.
Task<void> drop_nodes(DomainPtr domain, std::string device) {
    for (const std::string& node :
         {disk_node(device), connection_node(device, 0), connection_node(device, 1)}) {
        try {
            co_await domain->monitor->remove_blockdev(node);
        } catch (const ApiError& error) {
            log::debug("node_kept", {{"node", node}, {"error", error.what()}});
        }
    }
}

Task<void> add_nodes(DomainPtr domain, DiskAttachment disk, Undo& undo) {
    co_await drop_nodes(domain, disk.spec.device);  // what an interrupted plug may have left
    undo.push("remove nodes",
              [domain, device = disk.spec.device] { return drop_nodes(domain, device); });
    co_await domain->monitor->add_blockdev(connection_blockdev(disk));
    co_await domain->monitor->add_blockdev(disk_blockdev(disk));
}

Task<void> plug_disk_steps(DomainPtr domain, DiskAttachment disk, Undo& undo) {
    co_await add_nodes(domain, disk, undo);
    co_await domain->monitor->add_device(disk_device(disk));
}

Task<void> drop_netdev(DomainPtr domain, std::int64_t device) {
    co_await domain->monitor->remove_netdev(netdev_id(device));
}

Task<void> plug_nic_steps(DomainPtr domain, NicAttachment nic, Undo& undo) {
    UniqueFd tap = co_await blocking(domain->loop, [name = nic.tap] { return open_tap(name); });
    const std::string name = "tap-" + std::to_string(nic.spec.device);
    co_await domain->monitor->give_fd(name, std::move(tap));
    undo.push("take the tap back", [domain, name] { return domain->monitor->take_fd(name); });
    co_await domain->monitor->add_netdev(nic_netdev(nic, name));
    undo.push("remove netdev",
              [domain, device = nic.spec.device] { return drop_netdev(domain, device); });
    co_await domain->monitor->add_device(nic_device(nic));
}

struct Removal {
    std::string id;
    std::string kind;  // VBD or VIF, and its uuid: for the error
    std::string object;
    Duration limit;
};

Task<bool> removed_within(DomainPtr domain, std::string id, Duration limit) {
    const Time deadline = domain->loop.now() + limit;
    while (!domain->removed.contains(id) && !domain->refused.contains(id) && !domain->gone &&
           domain->loop.now() < deadline)
        co_await domain->changed.wait_for(deadline - domain->loop.now());
    co_return domain->removed.contains(id);
}

// Throws when the guest refuses or the time is up.
Task<void> remove_device(DomainPtr domain, Removal what) {
    domain->removed.erase(what.id);
    domain->refused.erase(what.id);
    const Time deadline = domain->loop.now() + what.limit;
    while (domain->loop.now() < deadline) {
        bool pending = false;
        try {
            co_await domain->monitor->request_removal(what.id);
        } catch (const ApiError& error) {
            if (error.code() == "DEVICE_NOT_ATTACHED") co_return;
            if (error.code() != "DEVICE_DETACH_REJECTED") throw;
            pending = true;  // asked before, and the guest has not answered yet
        }
        const Duration left = deadline - domain->loop.now();
        // A guest that was still booting never saw the first request.
        if (co_await removed_within(domain, what.id,
                                    pending ? left : std::min(left, ask_again_after)))
            co_return;
        if (domain->gone) throw err::internal_error("the domain ended");
        if (domain->refused.contains(what.id))
            throw err::device_detach_rejected(what.kind, what.object, "the guest refused");
    }
    throw err::device_detach_timeout(what.kind, what.object);
}

// True: gone. False: the guest did not let go, and `force` asks not to care.
Task<bool> try_remove(DomainPtr domain, Removal what, bool force) {
    try {
        co_await remove_device(domain, what);
        co_return true;
    } catch (const ApiError& error) {
        if (!force || domain->gone) throw;
        log::warn("device_forced_out", {{"device", what.id}, {"error", error.what()}});
    }
    co_return false;
}

Task<void> yank(DomainPtr domain, std::string device) {
    for (const int turn : {0, 1}) {
        try {
            co_await domain->monitor->yank_node(connection_node(device, turn));
        } catch (const ApiError& error) {
            log::debug("nothing_to_yank", {{"device", device}, {"error", error.what()}});
        }
    }
}

Task<void> insert_steps(DomainPtr domain, DiskAttachment disk, Undo& undo) {
    co_await add_nodes(domain, disk, undo);
    co_await domain->monitor->insert_medium(disk_id(disk.spec.device), disk_node(disk.spec.device));
}

Task<void> switch_connection(DomainPtr domain, DiskAttachment disk, int turn, Undo& undo) {
    co_await domain->monitor->add_blockdev(connection_blockdev(disk, turn));
    undo.push("remove connection", [domain, node = connection_node(disk.spec.device, turn)] {
        return domain->monitor->remove_blockdev(node);
    });
    co_await domain->monitor->reopen_blockdev(disk_blockdev(disk, turn));
}

// Opens the disk anew, below the guest's device. Answers with the node that is unused now.
Task<std::string> fresh_connection(DomainPtr domain, DiskAttachment disk) {
    for (const int turn : {1, 0}) {
        try {
            co_await with_undo([domain, disk, turn](Undo& undo) {
                return switch_connection(domain, disk, turn, undo);
            });
        } catch (const ApiError& error) {
            // The first name is taken when a former resize left it in use.
            if (turn == 0 || !error.params().front().contains("Duplicate")) throw;
            continue;
        }
        co_return connection_node(disk.spec.device, 1 - turn);
    }
    throw err::internal_error("no free connection for " + disk.spec.device);
}

// QEMU lets go of what it was handed; a device that has opened it keeps it.
Task<void> drop_set(DomainPtr domain, std::int64_t set) {
    try {
        co_await domain->monitor->remove_fd(set);
    } catch (const ApiError& error) {
        log::debug("descriptor_kept", {{"set", set}, {"error", error.what()}});
    }
}

Task<void> plug_usb_steps(DomainPtr domain, UsbAttachment device, std::int64_t set, Undo& undo) {
    undo.push("take the device back", [domain, set] { return drop_set(domain, set); });
    co_await domain->monitor->add_device(usb_device(device, set));
}

Task<void> open_usb_device(DomainPtr domain, UsbAttachment device) {
    if (co_await domain->monitor->has_device(usb_id(device.spec.vusb))) co_return;
    UniqueFd node =
        co_await blocking(domain->loop, [path = device.node] { return open_usb(path); });
    const std::int64_t set = co_await domain->monitor->add_fd(std::move(node));
    co_await with_undo(
        [domain, device, set](Undo& undo) { return plug_usb_steps(domain, device, set, undo); });
    co_await drop_set(domain, set);
}

}  // namespace

Task<void> plug_disk(DomainPtr domain, DiskAttachment disk) {
    const std::string device = disk.spec.device;
    if (const auto known = find_disk(*domain, device);
        known != domain->descriptor.config.disks.end()) {
        if (known->spec.vbd == disk.spec.vbd) co_return;
        throw err::device_already_exists(device);
    }
    if (disk.spec.kind == agent::DiskKind::cd)
        throw err::operation_not_allowed("a CD drive cannot be added to a running VM");
    if (disk.spec.position < 0 || disk.spec.position >= domain->descriptor.machine.disk_places)
        throw err::invalid_device(device);
    if (!co_await domain->monitor->has_device(disk_id(device)))
        co_await with_undo(
            [domain, disk](Undo& undo) { return plug_disk_steps(domain, disk, undo); });
    domain->descriptor.config.disks.push_back(std::move(disk));
    co_await save_descriptor(*domain);
}

Task<void> unplug_disk(DomainPtr domain, std::string device, bool force) {
    const auto known = find_disk(*domain, device);
    if (known == domain->descriptor.config.disks.end()) co_return;
    if (known->spec.kind == agent::DiskKind::cd)
        throw err::operation_not_allowed("a CD drive cannot be taken from a running VM");
    const Removal what{disk_id(device), "VBD", known->spec.vbd,
                       force ? forced_removal_limit : removal_limit};
    if (co_await try_remove(domain, what, force))
        co_await drop_nodes(domain, device);
    else
        co_await yank(domain, device);
    forget_disk(*domain, device);
    co_await save_descriptor(*domain);
}

Task<void> change_medium(DomainPtr domain, DiskAttachment disk) {
    const std::string device = disk.spec.device;
    const DiskAttachment before = disk_or_throw(*domain, device);
    if (before.spec.kind != agent::DiskKind::cd)
        throw err::vbd_not_removable_media(before.spec.vbd);
    if (before.nbd_socket == disk.nbd_socket && before.nbd_export == disk.nbd_export) co_return;
    const std::string id = disk_id(device);
    co_await domain->monitor->open_tray(id);
    if (!before.nbd_socket.empty()) {
        co_await domain->monitor->remove_medium(id);
        co_await drop_nodes(domain, device);
    }
    const auto known = find_disk(*domain, device);
    known->nbd_socket.clear();
    known->nbd_export.clear();
    known->spec.disk.reset();
    std::exception_ptr failure;
    if (!disk.nbd_socket.empty()) {
        try {
            co_await with_undo(
                [domain, disk](Undo& undo) { return insert_steps(domain, disk, undo); });
            *find_disk(*domain, device) = disk;
        } catch (const ApiError&) {
            failure = std::current_exception();
        }
    }
    co_await domain->monitor->close_tray(id);
    co_await save_descriptor(*domain);
    if (failure) std::rethrow_exception(failure);
}

Task<void> plug_nic(DomainPtr domain, NicAttachment nic) {
    const std::int64_t device = nic.spec.device;
    if (const auto known = find_nic(*domain, device);
        known != domain->descriptor.config.nics.end()) {
        if (known->spec.vif == nic.spec.vif) co_return;
        throw err::device_already_exists(std::to_string(device));
    }
    if (device < 0 || device >= domain->descriptor.machine.nic_places)
        throw err::invalid_device(std::to_string(device));
    if (!co_await domain->monitor->has_device(nic_id(device)))
        co_await with_undo([domain, nic](Undo& undo) { return plug_nic_steps(domain, nic, undo); });
    domain->descriptor.config.nics.push_back(std::move(nic));
    co_await save_descriptor(*domain);
}

Task<void> unplug_nic(DomainPtr domain, std::int64_t device, bool force) {
    const auto known = find_nic(*domain, device);
    if (known == domain->descriptor.config.nics.end()) co_return;
    const Removal what{nic_id(device), "VIF", known->spec.vif,
                       force ? forced_removal_limit : removal_limit};
    co_await try_remove(domain, what, force);
    // Without the device's consent too: QEMU cuts the cable and closes the tap.
    co_await drop_netdev(domain, device);
    std::erase_if(domain->descriptor.config.nics,
                  [device](const NicAttachment& n) { return n.spec.device == device; });
    co_await save_descriptor(*domain);
}

Task<void> disk_resized(DomainPtr domain, std::string device, std::int64_t size_bytes) {
    const DiskAttachment disk = disk_or_throw(*domain, device);
    if (disk.nbd_socket.empty()) co_return;
    // NBD tells the size once, at connection: a new connection takes the old one's place.
    const std::string unused = co_await fresh_connection(domain, disk);
    co_await domain->monitor->remove_blockdev(unused);
    co_await domain->monitor->resize_node(disk_node(device), size_bytes);
}

Task<void> plug_usb(DomainPtr domain, UsbAttachment device) {
    auto& usbs = domain->descriptor.config.usbs;
    const auto same = [&device](const UsbAttachment& one) {
        return one.spec.vusb == device.spec.vusb;
    };
    if (std::ranges::any_of(usbs, same)) co_return;
    if (!has_usb_controller(domain->descriptor.config.spec, domain->descriptor.machine))
        throw err::operation_not_allowed("the VM was started without a USB controller");
    co_await open_usb_device(domain, device);
    usbs.push_back(std::move(device));
    co_await save_descriptor(*domain);
}

Task<void> unplug_usb(DomainPtr domain, std::string vusb) {
    Removal what{usb_id(vusb), "VUSB", vusb, removal_limit};
    co_await remove_device(domain, std::move(what));
    std::erase_if(domain->descriptor.config.usbs,
                  [&vusb](const UsbAttachment& one) { return one.spec.vusb == vusb; });
    co_await save_descriptor(*domain);
}

Task<void> plug_usbs(DomainPtr domain) {
    const std::vector<UsbAttachment> usbs = domain->descriptor.config.usbs;
    for (const UsbAttachment& device : usbs)
        co_await open_usb_device(domain, device);
}

}  // namespace basalt::hv::qemu
