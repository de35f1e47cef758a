#pragma once
#include "host-agent/plan/plan.hpp"

/// One pure function a verb. Each throws the error of a verb that cannot begin (wrong device, wrong
/// power state); none looks at anything but its arguments.
namespace basalt::agent::plan {

/// What this host knows of a VM when a plan for it is made.
struct Have {
    std::string vm;
    std::optional<VmSpec> spec;  // absent: the VM is not here
    DomainPower power = DomainPower::halted;
};

/// The name under which a VM's suspend image is open beside its disks.
constexpr std::string_view suspend_device = "suspend";

struct Ending {
    Method method{};
    std::int64_t timeout_seconds = 0;
};

Plan vm_start(const Have& have, const VmSpec& spec, bool paused);
Plan vm_shutdown(const Have& have, Ending ending);
/// Ends the domain and builds it anew from `spec`; disks and ports that both want stay open.
Plan vm_reboot(const Have& have, Ending ending, const std::optional<VmSpec>& spec);
Plan vm_pause(const Have& have);
Plan vm_unpause(const Have& have);
Plan vm_suspend(const Have& have, const DiskRef& into);
Plan vm_resume(const Have& have, const VmSpec& spec, const DiskRef& from, bool paused);
Plan disk_plug(const Have& have, const DiskSpec& disk);
Plan disk_unplug(const Have& have, const std::string& device, bool force);
Plan disk_insert(const Have& have, const std::string& device, const DiskRef& disk);
Plan disk_eject(const Have& have, const std::string& device);
Plan nic_plug(const Have& have, const NicSpec& nic);
/// Only what rules its frames may differ from what it is: bridge, lock, addresses, disabled.
Plan nic_change(const Have& have, const NicSpec& nic);
/// More than the domain was made with: INVALID_VALUE.
Plan vm_set_memory(const Have& have, std::int64_t target_bytes);
Plan vm_set_vcpus(const Have& have, std::int64_t count);
Plan vm_set_cpu(const Have& have, const CpuShares& cpu);
/// Once: a signal whose fate nobody knows is not sent again.
Plan vm_signal(const Have& have, GuestSignal signal, const std::string& key);
/// Of a VM that is off.
Plan vm_purge(const Have& have);
Plan nic_unplug(const Have& have, std::int64_t device, bool force);
Plan usb_plug(const Have& have, const UsbSpec& usb);
Plan usb_unplug(const Have& have, const std::string& vusb);

/// The guest ended by itself: releases what it held, or builds it anew.
Plan vm_ended(const Have& have);
Plan vm_rebuild(const Have& have);

/// A verb that is one act of a backend.
Plan single_call(const std::string& verb, const nlohmann::json& args);

}  // namespace basalt::agent::plan
