#pragma once
#include <vector>

#include "agent_values.hpp"
#include "idl/api/pci_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// The host's PCI devices as it tells them: rows of controllers of storage, networks and displays,
/// and of what shares a card with one. Its network interfaces know their devices afterwards.
void land_pci_devices(db::Txn& txn, xenapi::Ref<xenapi::Host> host,
                      const std::vector<agent::PciFacts>& devices);

/// The virtual functions of a device that no guest has or is about to get.
std::vector<xenapi::Ref<xenapi::Pci>> free_functions(const db::Txn& txn,
                                                     xenapi::Ref<xenapi::Pci> device);

/// Class PCI. Which devices the control domain leaves alone is kept by the machine's boot loader:
/// it is asked each time.
class PciDomain final : public xenapi::PciApi {
  public:
    explicit PciDomain(core::Core& core) : core_(core) {}

    Task<xenapi::PciDom0Access> disable_dom0_access(Call& call,
                                                    xenapi::PciDisableDom0Access params) override;
    Task<xenapi::PciDom0Access> enable_dom0_access(Call& call,
                                                   xenapi::PciEnableDom0Access params) override;
    Task<xenapi::PciDom0Access> get_dom0_access_status(
        Call& call, xenapi::PciGetDom0AccessStatus params) override;

  private:
    Task<xenapi::PciDom0Access> change(Call& call, xenapi::Ref<xenapi::Pci> device, bool hidden);

    core::Core& core_;
};

}  // namespace basalt::domain
