#pragma once
#include <optional>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "idl/api/pusb_api.hpp"
#include "idl/api/usb_group_api.hpp"
#include "idl/api/vusb_api.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vusb.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// The host's PUSBs become what is plugged into it: one for each device, in a group with those of
/// its kind on other hosts. Answers VUSBs whose guest has a device that is not there any more.
std::vector<xenapi::Ref<xenapi::Vusb>> land_usb_devices(
    db::Txn& txn, xenapi::Ref<xenapi::Host> host, const std::vector<agent::UsbFacts>& devices);

/// The group of which the VM needs a device that the host cannot give; nothing: it can run there.
std::optional<xenapi::Ref<xenapi::UsbGroup>> missing_usb_group(const db::Txn& txn,
                                                               const xenapi::Vm& vm,
                                                               xenapi::Ref<xenapi::Host> host);

/// The devices that the VM's guest gets on that host.
std::vector<agent::UsbSpec> usb_specs(const db::Txn& txn, const xenapi::Vm& vm,
                                      xenapi::Ref<xenapi::Host> host);

/// The VM is no more.
void erase_vusbs(db::Txn& txn, const xenapi::Vm& vm);

class PusbDomain final : public xenapi::PusbApi {
  public:
    explicit PusbDomain(core::Core& core) : core_(core) {}

    Task<void> scan(Call& call, xenapi::PusbScan params) override;
    Task<void> set_passthrough_enabled(Call& call,
                                       xenapi::PusbSetPassthroughEnabled params) override;

  private:
    core::Core& core_;
};

class UsbGroupDomain final : public xenapi::UsbGroupApi {
  public:
    Task<xenapi::Ref<xenapi::UsbGroup>> create(Call& call, xenapi::UsbGroupCreate params) override;
    Task<void> destroy(Call& call, xenapi::UsbGroupDestroy params) override;
};

class VusbDomain final : public xenapi::VusbApi {
  public:
    explicit VusbDomain(core::Core& core) : core_(core) {}

    /// A guest that runs gets the device at once.
    Task<xenapi::Ref<xenapi::Vusb>> create(Call& call, xenapi::VusbCreate params) override;
    Task<void> destroy(Call& call, xenapi::VusbDestroy params) override;
    Task<void> unplug(Call& call, xenapi::VusbUnplug params) override;

  private:
    Task<void> plug(Call& call, xenapi::Ref<xenapi::Vusb> vusb);

    core::Core& core_;
};

}  // namespace basalt::domain
