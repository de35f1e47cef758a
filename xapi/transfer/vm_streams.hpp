#pragma once
#include "idl/api/network_api.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

/// What streams of VMs and disks are made of and become. All outlive the router.
struct VmParts {
    domain::Storage& storage;
    xenapi::NetworkApi& networks;
    Adopt adopt;
};

/// GET /export and /export_metadata, PUT /import and /import_metadata: VMs as archives (XVA).
void add_vm_routes(server::Router& router, server::HttpAuth& auth, VmParts parts);

/// GET /export_raw_vdi, PUT /import_raw_vdi: single disks, in several formats.
void add_disk_routes(server::Router& router, server::HttpAuth& auth, VmParts parts);

/// The handlers of archives; the second of a pair has the records alone.
Task<void> export_vm(server::Exchange& exchange, Call& call, Adopt adopt);
Task<void> export_metadata(server::Exchange& exchange, Call& call);
Task<void> import_vm(server::Exchange& exchange, Call& call, const VmParts& parts);
Task<void> import_metadata(server::Exchange& exchange, Call& call, const VmParts& parts);

}  // namespace basalt::transfer
