#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agent_values.hpp"

/// What the keys of VM.platform and VM.bios_strings mean to QEMU. Pure. Keys that only another
/// hypervisor knows (hap, timer_mode, vpmu, ...) change nothing here.
namespace basalt::hv::qemu {

/// Of `-cpu`. `nx`, `pae`, `apic`: off when said false. `nested-virt`: only then the guest sees the
/// CPU's own virtualisation. `viridian`: what Windows knows of a hypervisor, under KVM only.
std::string cpu_model(const agent::VmSpec& vm, bool accelerated);

/// Of `-smp`: a socket for each CPU, or for as many as `cores-per-socket` says when that divides
/// their greatest number.
std::string cpu_topology(const agent::VmSpec& vm, std::int64_t vcpus);

/// What follows the machine's type, beginning with a comma, or nothing: `acpi`, `hpet`.
std::string machine_switches(const agent::VmSpec& vm);

/// Values of `-global`: `acpi_s3`, `acpi_s4`. What the firmware demands is not repeated.
std::vector<std::string> global_settings(const agent::VmSpec& vm, bool secure_boot);

/// `vga`: std or cirrus; `videoram`: MiB, as the next power of two from 1 to 64.
nlohmann::json video_device(const agent::VmSpec& vm);

/// Whether it has a pointer: not when `usb` or `usb_tablet` is false.
bool has_tablet(const agent::VmSpec& vm);

/// Values of `-smbios`, one a table that the strings fill.
std::vector<std::string> firmware_tables(const agent::VmSpec& vm);

/// QEMU's key=value lists end a value at a comma unless it is doubled.
std::string escaped(const std::string& value);

}  // namespace basalt::hv::qemu
