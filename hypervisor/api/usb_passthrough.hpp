#pragma once
#include <string>

#include "hypervisor/api/hypervisor.hpp"

namespace basalt::hv {

/// An ability of a Hypervisor: guests get USB devices of the host, those of DomainConfig when they
/// are made and others while they run. Loop only; idempotent by VUSB.
class UsbPassthrough {
  public:
    virtual ~UsbPassthrough() = default;

    /// OPERATION_NOT_ALLOWED for a guest that was made without a USB controller, INTERNAL_ERROR for
    /// a device that cannot be opened.
    virtual Task<void> plug_usb(DomId dom, UsbAttachment device) = 0;
    /// The guest is not asked: for it the device is pulled out.
    virtual Task<void> unplug_usb(DomId dom, std::string vusb) = 0;
};

}  // namespace basalt::hv
