#pragma once
#include <string>
#include <vector>

#include "agent_values.hpp"
#include "base/async.hpp"
#include "base/fd.hpp"

namespace basalt::agent {

/// What an administrator does to the machine itself and asks of it. Where the machine is only a
/// part of somebody else's (a developer's run), nothing of that other machine is touched. Loop
/// only.
class Machine {
  public:
    virtual ~Machine() = default;
    /// Begins the act a moment later and returns at once. OPERATION_NOT_ALLOWED [why] where the
    /// machine has nobody who could do it.
    virtual Task<void> power(PowerAct act) = 0;
    /// All of it or nothing: what was changed before a part failed is put back. Idempotent.
    /// HOST_NAME_INVALID [reason], INVALID_VALUE [field, value], OPERATION_NOT_ALLOWED [why].
    virtual Task<void> change(HostChange change) = 0;
    virtual Task<HostClock> clock() = 0;
    /// The hypervisor takes each of `keys` as at its console. OPERATION_NOT_ALLOWED [why] where
    /// none has such keys.
    virtual Task<void> debug_keys(std::string keys) = 0;
    /// Names that `change` takes as a time zone, sorted.
    virtual Task<std::vector<std::string>> timezones() = 0;
    /// The newest part, at most 512 KiB, whole lines.
    virtual Task<std::string> log(HostLog which, bool clear) = 0;
    /// A stream of `format` (tar, tar.bz2, zip) that ends when the archive does.
    virtual Task<UniqueFd> bundle(std::vector<std::string> entries, std::string format) = 0;
    /// Sorted by path.
    virtual Task<std::vector<UsbFacts>> usb_devices() = 0;
    /// The file by which the device of `spec` is opened. INVALID_DEVICE [path] when there is none
    /// at that port, or one of another kind.
    virtual Task<std::string> usb_node(UsbSpec spec) = 0;
    /// SUBJECT_CANNOT_BE_RESOLVED [] for nobody.
    virtual Task<Account> account(std::string who) = 0;
    /// Sorted by address.
    virtual Task<std::vector<PciFacts>> pci_devices() = 0;
    virtual Task<PciHiding> pci_hiding() = 0;
    /// From the next boot on the control domain leaves the device alone, or uses it again.
    /// Idempotent. INVALID_VALUE [address, value] for no device,
    /// BOOT_DEVICE_PASSTHROUGH_DISALLOWED [address] for one that the machine boots from,
    /// OPERATION_NOT_ALLOWED [why] where nobody can change how it boots.
    virtual Task<PciHiding> pci_hide(std::string address, bool hidden) = 0;
    /// As the verb pci_functions. INVALID_VALUE [address, value] for a device that has none.
    virtual Task<std::string> pci_functions(std::string address, bool enabled) = 0;
};

}  // namespace basalt::agent
