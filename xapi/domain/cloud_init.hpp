#pragma once
#include <optional>

#include "agent_values.hpp"
#include "idl/records/vm.hpp"
#include "xapi/db/txn.hpp"

namespace basalt::domain {

/// The drive from which cloud-init in the guest reads what it shall be, from keys of the VM's
/// other_config: `cloud-init:user-data`, `cloud-init:network-config`, `cloud-init:vendor-data` and
/// `cloud-init:meta-data`; or the same with `_secret` behind it, the uuid of a secret that holds
/// the text. Nothing when there is none of them. docs/decisions/0014-cloud-init-from-fields.md.
/// Throws INVALID_VALUE when it is too large, UUID_INVALID for a secret that is not there.
std::optional<agent::SeedDrive> cloud_init_drive(const db::Txn& txn, const xenapi::Vm& vm);

/// What becomes a host name of a VM's: letters, digits and hyphens, at most 63. May be empty.
std::string host_name_of(const std::string& name_label);

}  // namespace basalt::domain
