#pragma once
#include "agent_values.hpp"
#include "idl/records/host.hpp"
#include "xapi/db/database.hpp"

namespace basalt::domain {

/// What hosts of some hypervisors cannot do for their guests.
struct Feature {
    const char* restriction;  ///< its key in host.license_params and pool.restrictions
    const char* name;         ///< as LICENCE_RESTRICTION has it
};

constexpr Feature vtpm_feature = {.restriction = "restrict_vtpm", .name = "VTPM"};
constexpr Feature usb_feature = {.restriction = "restrict_usb_passthrough",
                                 .name = "USB_passthrough"};

/// Notes what the host says that it can do. A pool has what all its hosts have.
void refresh_features(db::Txn& txn, xenapi::Ref<xenapi::Host> host, const agent::HostFacts& facts);
/// Throws LICENCE_RESTRICTION [name] where the pool lacks it.
void require_feature(const db::Txn& txn, const Feature& feature);

}  // namespace basalt::domain
