#pragma once
#include "agent_verbs.hpp"
#include "xapi/core/core.hpp"

namespace basalt::core {

/// The host that may change the SR's metadata: the coordinator's where the SR is plugged there,
/// else any plugged one. SR_HAS_NO_PBDS [sr].
xenapi::Ref<xenapi::Host> home_of(const Core& core, xenapi::Ref<xenapi::Sr> sr);
agent::Host& home_agent(const Core& core, xenapi::Ref<xenapi::Sr> sr);
/// What hostd calls the disk.
agent::DiskRef disk_ref(const db::Database& db, xenapi::Ref<xenapi::Vdi> disk);

}  // namespace basalt::core
