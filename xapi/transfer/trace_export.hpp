#pragma once
#include <string>

#include "xapi/core/tracing.hpp"
#include "xapi/rpc/metrics.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

/// Where spans go.
struct TraceSinks {
    Dial dial;
    std::string directory;  ///< for observers with the endpoint `bugtool`; made when needed
};

/// Sends what Tracing gathers to the endpoints of the observers, a few seconds later, until it is
/// cancelled: arrays of spans as collectors take them (Zipkin's JSON, version 2), with the
/// observer's own attributes and those of this host in each; on the host's disk, 16 files of a MiB
/// at most. What an endpoint does not take within ten seconds is lost for it, is told in the log,
/// and counts in `xapi_trace_exports_total`.
Task<void> export_traces(core::Core& core, TraceSinks sinks, server::Metrics& metrics);

}  // namespace basalt::transfer
