#pragma once

namespace basalt::hv {

/// An ability of a Hypervisor whose NICs bring their interfaces along: after `create`, `restore`
/// and `plug_nic` there is one by the name in NicAttachment::tap, down and on no bridge, and it
/// goes with the NIC. Others expect taps that were made before.
class InterfaceMaker {
  public:
    virtual ~InterfaceMaker() = default;
    [[nodiscard]] virtual bool makes_interfaces() const = 0;
};

}  // namespace basalt::hv
