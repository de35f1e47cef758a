#pragma once
#include "xapi/rpc/http_auth.hpp"

namespace basalt::transfer {

/// GET /rrd_updates, /host_rrd, /vm_rrd, /sr_rrd and their old names, of the coordinator's own
/// host; a VM of another host is a redirect there. All outlive the router.
void add_figure_routes(server::Router& router, server::HttpAuth& auth);

}  // namespace basalt::transfer
