#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "idl/api/network_api.hpp"
#include "idl/params/vm.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/vm_import.hpp"
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

/// Opens a connection to a host by its name or address, with TLS or without. Throws ApiError.
using Dial =
    std::function<Task<std::unique_ptr<Stream>>(std::string host, std::uint16_t port, bool tls)>;

/// VM.import: takes VMs in from an archive that a web server has, `http://` or `https://` with a
/// user and password if need be. Whatever breaks it takes all back. Throws as PUT /import fails,
/// INVALID_VALUE for the address, IMPORT_ERROR for what the server answers.
Task<std::vector<xenapi::Ref<xenapi::Vm>>> import_from(Call& call, const VmParts& parts, Dial dial,
                                                       xenapi::VmImport params);

/// What an archive's bytes come by; 0 at the end.
using ReadArchive = std::function<Task<std::size_t>(std::span<char>)>;

/// Takes in a whole archive, or nothing. The call has a task.
Task<std::vector<xenapi::Ref<xenapi::Vm>>> import_stream(Call& call, const VmParts& parts,
                                                         ReadArchive read, domain::ImportWish wish);

/// The handlers of archives; the second of a pair has the records alone.
Task<void> export_vm(server::Exchange& exchange, Call& call, Adopt adopt);
Task<void> export_metadata(server::Exchange& exchange, Call& call);
Task<void> import_vm(server::Exchange& exchange, Call& call, const VmParts& parts);
Task<void> import_metadata(server::Exchange& exchange, Call& call, const VmParts& parts);

}  // namespace basalt::transfer
