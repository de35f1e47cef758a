#pragma once
#include "idl/api/driver_variant_api.hpp"
#include "idl/api/host_driver_api.hpp"
#include "xapi/core/core.hpp"

/// Drivers of hosts that come in several versions. Hosts here have those of their kernel, one of
/// each kind, so records of others come only with a database that another server wrote.
namespace basalt::domain {

/// Class Host_driver.
class HostDriverDomain final : public xenapi::HostDriverApi {
  public:
    /// Removes the records of drivers that the host does not have.
    Task<void> rescan(Call& call, xenapi::HostDriverRescan params) override;
    Task<void> select(Call& call, xenapi::HostDriverSelect params) override;
    Task<void> deselect(Call& call, xenapi::HostDriverDeselect params) override;
};

/// Class Driver_variant.
class DriverVariantDomain final : public xenapi::DriverVariantApi {
  public:
    Task<void> select(Call& call, xenapi::DriverVariantSelect params) override;
};

/// Of all drivers that come in several versions the host has none: their records go.
void drop_drivers(db::Txn& txn, xenapi::Ref<xenapi::Host> host);

}  // namespace basalt::domain
