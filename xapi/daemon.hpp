#pragma once
#include <optional>
#include <string>

#include "xapi/config.hpp"
#include "xapi/rpc/tls.hpp"

/// The two forms of the daemon: what they share, and where each begins.
namespace basalt {

/// Until SIGTERM, or a failure that only a fresh start can cure. Returns the process's status.
/// `fault_points`: see --fault-points; empty for none.
int run_coordinator(const Config& config, const std::string& fault_points);
/// As the member of a pool that `coordinator` (numeric address) leads.
int run_member(const Config& config, const std::string& coordinator);

/// Nullopt for a host without peers. Throws std::runtime_error when only some of it is configured.
std::optional<server::PoolIdentity> pool_identity(const Config& config);
/// Empty for a host without peers. Throws std::runtime_error when the file cannot be read.
std::string pool_secret(const Config& config);
/// Makes the certificate that clients see, unless it is there.
void ensure_client_certificate(const Config& config);

}  // namespace basalt
