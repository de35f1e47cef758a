#pragma once
#include "xapi/rpc/http_auth.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

/// GET and PUT /blob: the bytes of blobs. One that is public is read without a session. All
/// outlive the router.
void add_blob_routes(server::Router& router, server::HttpAuth& auth, core::Core& core);

/// GET /audit_log (`since`: a moment) and GET /system-status (`entries` with commas between,
/// `output` tar, tar.bz2 or zip; `list`: the parts that there are).
void add_status_routes(server::Router& router, server::HttpAuth& auth, Adopt adopt);

}  // namespace basalt::transfer
